//! From text to a document, or to everything that is wrong with it.

mod app;
mod definitions;
mod expectations;
mod paths;
mod rules;
pub(crate) mod selector;

use jsonc_parser::ast::Object;

use crate::{Diagnostics, Document, MAX_DOCUMENT_BYTES, reader::Reader};

const IF_EMPTY: &str = "the document is empty: to deny everything, write { \"acls\": [] }";

/// Sections of the language that we do not have, and why or what to do instead.
const REFUSED_SECTIONS: &[(&str, &str)] = &[
    ("autoApprovers", "approve routes where the node is set up"),
    ("attrConfig", "nearwire has no custom attributes"),
    ("defaultSrcPosture", "nearwire knows no device posture"),
    ("derpMap", "relays are configured where the nodes are"),
    ("disableIPv4", "give the nodes IPv6 addresses only"),
    ("extraDNSRecords", "names come from the nodes"),
    ("ipsets", "use \"hosts\" or a list of prefixes"),
    ("nodeAttrs", "nearwire has no node attributes"),
    ("OneCGNATRoute", "nearwire routes each node's own addresses"),
    ("postures", "nearwire knows no device posture"),
    ("randomizeClientPort", "the port is configured where the node is"),
    ("services", "use a tag or an address"),
    ("ssh", "nearwire does not serve SSH: accept port 22"),
    ("sshTests", "nearwire does not serve SSH: test port 22"),
];

pub(crate) fn document(text: &str) -> Result<Document, Diagnostics> {
    let (mut reader, object) = Reader::open(text, MAX_DOCUMENT_BYTES, IF_EMPTY);
    let document = object.map(|object| sections(&mut reader, &object));
    reader.close(document.unwrap_or_default())
}

fn sections<'a>(reader: &mut Reader<'a>, object: &Object<'a>) -> Document {
    let names = ["groups", "hosts", "tagOwners", "acls", "grants", "paths", "tests"];
    let [groups, hosts, tag_owners, acls, grants, paths, tests] =
        reader.fields(object, names, REFUSED_SECTIONS);
    if acls.is_none() && grants.is_none() {
        reader.refuse(
            object.range.start,
            "\"acls\" and \"grants\" are missing: to deny everything, write \"acls\": []",
        );
    }
    let defined = definitions::read(reader, groups, hosts, tag_owners);
    let rules::Read { rules, relays } = rules::read(reader, &defined, acls, grants);
    let paths = paths::read(reader, &defined, paths);
    let tests = expectations::read(reader, &defined, tests);
    Document {
        groups: defined.groups,
        hosts: defined.hosts,
        tag_owners: defined.tag_owners,
        rules,
        relays,
        paths,
        tests,
    }
}
