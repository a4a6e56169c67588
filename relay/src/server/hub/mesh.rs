//! What links to other relays say to the hub.

use bytes::Bytes;
use proto::mesh::MeshFrame;
use proto::relay::{Framing, split_frame};

use super::Hub;
use crate::core::LinkId;
use crate::server::mesh::{LinkUp, ToMesh};

impl Hub {
    pub(super) fn mesh(&mut self, message: ToMesh) {
        let (now, out) = (self.now.at, &mut self.out);
        match message {
            ToMesh::Region(region) => self.relay.set_region(region, out),
            ToMesh::Up(up) => self.link_up(*up),
            ToMesh::Frames(link, bytes) => self.link_frames(link, bytes),
            ToMesh::Datagrams(link, frames) => {
                frames.iter().for_each(|frame| self.link_frame(link, frame, frame));
            }
            ToMesh::Written(link, bytes) => self.relay.link_written(link, bytes, now, out),
            ToMesh::Down(link) => {
                self.links.remove(&link);
                self.relay.link_down(link, out);
            }
        }
    }

    fn link_up(&mut self, up: LinkUp) {
        let LinkUp { relay, line, reply } = up;
        let id = self.relay.link_up(relay, self.now.at, &mut self.out);
        if let Some(id) = id {
            // Before what the core has for it is handed out.
            self.links.insert(id, line);
        }
        if reply.send(id).is_err()
            && let Some(id) = id
        {
            self.links.remove(&id);
            self.relay.link_down(id, &mut self.out);
        }
    }

    /// Takes whole frames, each with its length.
    fn link_frames(&mut self, link: LinkId, bytes: Bytes) {
        let mut rest = &bytes[..];
        while let Ok(Some((frame, taken))) = split_frame(rest, Framing::Mesh) {
            self.link_frame(link, frame, &bytes);
            rest = &rest[taken..];
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8], chunk: &Bytes) {
        match MeshFrame::parse(frame) {
            Ok(frame) => self.relay.link_frame(link, &frame, chunk, self.now.at, &mut self.out),
            Err(error) => {
                tracing::warn!(%error, "another relay sent what is no frame: its link ends");
                self.relay.link_down(link, &mut self.out);
            }
        }
    }
}
