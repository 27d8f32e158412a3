//! Who wrote what, so that nobody else can have: the operator's admission webhook notes the name by which the API
//! server knows the author, and seals it with a key that only the operator has. What has no seal is not acted upon,
//! so a webhook that was away, or is not there at all, lets nobody act under another name.
//!
//! A seal says who wrote just this content under this name, not when: while no webhook is registered, whoever may write
//! Runbooks can put back a content of before together with the note of that time, and it is that author's again. What
//! that author may not do any more is not done, since it is asked before each run.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt as _, api::PostParams};
use plimsoll_api::{RunbookExecution, RunbookExecutionStatus};
use plimsoll_runbook::names;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The annotation with the author, of runbooks.
pub const AUTHOR: &str = "plimsoll.dev/author";
/// The annotation by which somebody asks for a run, of runbooks.
pub const RUN: &str = "plimsoll.dev/run";
/// The annotation with the seal, of executions and approvals.
pub const SEAL: &str = "plimsoll.dev/seal";
/// The Secret with the key.
const SECRET: &str = "plimsoll-seal";
const KEY: &str = "key";

/// Somebody, as the API server knows them, and the seal over what they did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Author {
    /// The name.
    pub username: String,
    /// The groups at that time.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The seal.
    #[serde(default)]
    pub seal: String,
}

/// Somebody asks for a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// Tells it apart from others.
    pub id: String,
    /// Values of parameters.
    #[serde(default)]
    pub parameters: std::collections::BTreeMap<String, String>,
    /// When it was asked for, RFC 3339; the webhook's.
    #[serde(default)]
    pub at: String,
    /// Who; the webhook's.
    #[serde(default)]
    pub by: String,
    /// The groups that they are in; the webhook's.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The seal; the webhook's.
    #[serde(default)]
    pub seal: String,
}

/// Makes and checks seals.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 32],
}

impl Sealer {
    /// With this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// With the key that all replicas share, made by the first.
    ///
    /// # Errors
    /// When the Secret cannot be read or made.
    pub async fn shared(secrets: &Api<Secret>) -> anyhow::Result<Self> {
        for _ in 0..5 {
            if let Some(secret) = secrets.get_opt(SECRET).await? {
                let key = secret.data.as_ref().and_then(|data| data.get(KEY)).map(|key| key.0.as_slice());
                let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
                return key.map(Self::new).ok_or_else(|| {
                    anyhow::anyhow!("secret {SECRET} has no key of 32 bytes; delete it and write all runbooks anew")
                });
            }
            let mut key = [0; 32];
            rustls::crypto::ring::default_provider()
                .secure_random
                .fill(&mut key)
                .map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(SECRET.to_owned()),
                    labels: Some([(names::MANAGED_BY.0.to_owned(), names::MANAGED_BY.1.to_owned())].into()),
                    ..ObjectMeta::default()
                },
                data: Some([(KEY.to_owned(), ByteString(key.to_vec()))].into()),
                ..Secret::default()
            };
            match secrets.create(&PostParams::default(), &secret).await {
                Ok(_) => return Ok(Self::new(key)),
                // Another replica was faster.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(error.into()),
            }
        }
        anyhow::bail!("secret {SECRET} comes and goes")
    }

    /// The seal of an author of a runbook: of its name and of every field of its spec.
    ///
    /// # Errors
    /// None that can occur.
    pub fn of_author(
        &self,
        namespace: &str,
        name: &str,
        spec: &impl Serialize,
        author: &Author,
    ) -> Result<String, serde_json::Error> {
        let groups = author.groups.join("\n");
        Ok(self.seal(&["author", namespace, name, &names::spec_hash(spec)?, &author.username, &groups]))
    }

    /// The seal of a request.
    pub fn of_run(&self, namespace: &str, name: &str, run: &RunRequest) -> String {
        let parameters: Vec<String> = run.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let groups = run.groups.join("\n");
        let mut parts = vec!["run", namespace, name, &run.id, &run.at, &run.by, &groups];
        parts.extend(parameters.iter().map(String::as_str));
        self.seal(&parts)
    }

    /// The seal of an approval or an execution: of its name and its spec.
    ///
    /// # Errors
    /// None that can occur.
    pub fn of_object(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        spec: &impl Serialize,
    ) -> Result<String, serde_json::Error> {
        Ok(self.seal(&[kind, namespace, name, &names::spec_hash(spec)?]))
    }

    /// The seal of an execution's status: of whose it is, and of every field of it but the seal.
    ///
    /// # Errors
    /// None that can occur.
    pub fn of_status(
        &self,
        execution: &RunbookExecution,
        status: &RunbookExecutionStatus,
    ) -> Result<String, serde_json::Error> {
        let (namespace, uid) = (execution.namespace().unwrap_or_default(), execution.uid().unwrap_or_default());
        let bare = RunbookExecutionStatus { seal: None, ..status.clone() };
        self.of_object(&format!("status of {uid}"), &namespace, &execution.name_any(), &bare)
    }

    /// Whether a seal is the right one, in constant time.
    pub fn is(given: &str, right: &str) -> bool {
        bool::from(given.as_bytes().ct_eq(right.as_bytes()))
    }

    fn seal(&self, parts: &[&str]) -> String {
        // Every part with its length before it, so that no two lists of parts are the same text. The key is 32 bytes,
        // which HMAC takes as it is; a hash stands for it in the case that cannot be.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return hex(&Sha256::digest(self.key));
        };
        for part in parts {
            mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex(&mac.finalize().into_bytes())
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_seal_is_of_everything_that_matters() {
        let sealer = Sealer::new([7; 32]);
        let author = Author { username: "ann".to_owned(), groups: vec!["sre".to_owned()], seal: String::new() };
        let seal = |sealer: &Sealer, namespace: &str, name: &str, spec: serde_json::Value, author: &Author| {
            sealer.of_author(namespace, name, &spec, author).unwrap()
        };
        let right = seal(&sealer, "shop", "a", json!({"x": 1}), &author);
        assert!(Sealer::is(&right, &seal(&sealer, "shop", "a", json!({"x": 1}), &author)));
        let other = Author { groups: vec!["admins".to_owned()], ..author.clone() };
        for wrong in [
            seal(&sealer, "sho", "pa", json!({"x": 1}), &author),
            seal(&sealer, "shop", "a", json!({"x": 2}), &author),
            seal(&sealer, "shop", "a", json!({"x": 1}), &other),
            seal(&Sealer::new([8; 32]), "shop", "a", json!({"x": 1}), &author),
            sealer.of_object("author", "shop", "a", &json!({"x": 1})).unwrap(),
            String::new(),
        ] {
            assert!(!Sealer::is(&wrong, &right));
        }
        // It is not of when: the same content of the same author has the same seal, as the book says.
        let again =
            seal(&sealer, "shop", "a", json!({"x": 1}), &Author { seal: "of before".to_owned(), ..author.clone() });
        assert!(Sealer::is(&again, &right));
        let run = RunRequest { id: "1".to_owned(), by: "ann".to_owned(), ..RunRequest::default() };
        let more = RunRequest { parameters: [("pod".to_owned(), "x".to_owned())].into(), ..run.clone() };
        let admin = RunRequest { groups: vec!["admins".to_owned()], ..run.clone() };
        assert_ne!(sealer.of_run("shop", "a", &run), sealer.of_run("shop", "a", &more));
        assert_ne!(sealer.of_run("shop", "a", &run), sealer.of_run("shop", "a", &admin));
    }
}
