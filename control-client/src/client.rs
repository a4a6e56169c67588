//! Questions and answers.

use std::time::Duration;

use proto::control::{
    ChallengeRequest, ChallengeResponse, EnrolRequest, EnrolResponse, Malformed, NodeId,
    RenewRequest, RenewResponse, Report, RevocationFrame, SessionRequest, SessionResponse,
};
use proto::ticket::SigningKey;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ClientError, Frames, Line, Trust, http_client};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(40);
/// The longest answer that is no stream.
const MAX_ANSWER: usize = 1 << 20;

/// A control plane.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

/// The right to be heard, for a while.
#[derive(Clone)]
pub struct Session {
    token: String,
    /// How long.
    pub lasts: Duration,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("lasts", &self.lasts).finish_non_exhaustive()
    }
}

/// What is read of an RFC 9457 problem.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    errors: Vec<String>,
    retry_after: Option<u64>,
}

impl Client {
    /// The control plane at an address: `https://control.example.com`.
    pub fn new(url: &str, trust: &Trust) -> Result<Self, ClientError> {
        check_address(url)?;
        Ok(Self { http: http_client(trust)?, url: url.trim_end_matches('/').to_owned() })
    }

    /// Its host's name or address, and its port.
    #[must_use]
    pub fn server(&self) -> Option<(String, u16)> {
        let url = reqwest::Url::parse(&self.url).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some((host, url.port_or_known_default()?))
    }

    /// Comes into a network.
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolResponse, ClientError> {
        json(self.post("enrol", None, request)).await
    }

    /// Begins a session.
    pub async fn log_in(&self, node: NodeId, key: &SigningKey) -> Result<Session, ClientError> {
        let asked: ChallengeResponse =
            json(self.post("challenge", None, &ChallengeRequest { node })).await?;
        let answer = SessionRequest::answer(node, asked.challenge, key);
        let session: SessionResponse = json(self.post("session", None, &answer)).await?;
        Ok(Session { token: session.token, lasts: Duration::from_secs(session.lasts) })
    }

    /// Takes another node key.
    pub async fn renew(
        &self,
        session: &Session,
        request: &RenewRequest,
    ) -> Result<RenewResponse, ClientError> {
        json(self.post("renew", Some(session), request)).await
    }

    /// Tells what is new here.
    pub async fn report(&self, session: &Session, report: &Report) -> Result<(), ClientError> {
        answered(self.post("report", Some(session), report).timeout(ANSWER).send().await?)
            .await
            .map(drop)
    }

    /// Leaves the network for good.
    pub async fn leave(&self, session: &Session) -> Result<(), ClientError> {
        answered(self.post("leave", Some(session), &()).timeout(ANSWER).send().await?)
            .await
            .map(drop)
    }

    /// Hears of the network, from what was known at a revision.
    pub async fn stream(
        &self,
        session: &Session,
        after: Option<u64>,
    ) -> Result<Frames, ClientError> {
        let request = self
            .request(Method::GET, "stream", Some(session))
            .query(after.map(|after| ("after", after)).as_slice());
        begun(request).await
    }

    /// Hears, as a relay that has this token, who is not to be served.
    pub async fn revocations(&self, token: &str) -> Result<Frames<RevocationFrame>, ClientError> {
        let url = format!("{}/relay/v1/revocations", self.url);
        begun(self.http.get(url).bearer_auth(token)).await
    }

    fn post(&self, what: &str, session: Option<&Session>, body: &impl Serialize) -> RequestBuilder {
        self.request(Method::POST, what, session).json(body)
    }

    fn request(&self, method: Method, what: &str, session: Option<&Session>) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/agent/v1/{what}", self.url));
        match session {
            Some(session) => request.bearer_auth(&session.token),
            None => request,
        }
    }
}

/// Refuses an address on the way to which others could read along.
pub fn check_address(url: &str) -> Result<(), ClientError> {
    let loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let plain = loopback.iter().any(|start| {
        url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if url.starts_with("https://") || plain {
        return Ok(());
    }
    let reason = format!("{url} is not https://, and not on this host: nobody shall read along");
    Err(ClientError::Configuration(reason))
}

/// A stream, as soon as its answer begins.
async fn begun<L: Line>(request: RequestBuilder) -> Result<Frames<L>, ClientError> {
    let response = tokio::time::timeout(ANSWER, request.send())
        .await
        .map_err(|_| ClientError::Silent(ANSWER.as_secs()))??;
    Ok(Frames::new(answered(response).await?))
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, ClientError> {
    let response = answered(request.timeout(ANSWER).send().await?).await?;
    let body = body(response).await?;
    Ok(serde_json::from_slice(&body).map_err(Malformed::from)?)
}

async fn body(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            return Err(Malformed::TooMuch { field: "answer", most: MAX_ANSWER }.into());
        }
    }
    Ok(body)
}

async fn answered(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = body(response).await?;
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
    let detail = [vec![detail], problem.errors].concat().join("; ");
    let retry_after = problem.retry_after;
    Err(ClientError::Refused { status: status.as_u16(), detail, retry_after })
}
