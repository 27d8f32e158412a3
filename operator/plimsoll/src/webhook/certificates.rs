//! The webhook's certificates when nobody gives any: made here, shared by all replicas through a
//! Secret, replaced long before they end.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, api::PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::sinks::kubernetes::{MANAGED_BY, chain};

/// How long a certificate is valid.
const LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long before its end the next one is made.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);
const RENEW_AT: &str = "plimsoll.dev/renew-at";
const NAMES: &str = "plimsoll.dev/names";
/// The label by which the Secret is known.
const OURS: &str = MANAGED_BY.0;
const OWNER: &str = MANAGED_BY.1;

/// A certificate with its key and what to trust.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authorities to trust, PEM: this one's, and the last one's while replicas may still use it.
    pub authorities: String,
    /// The certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// Names and addresses for which it is valid.
    pub names: Vec<String>,
    /// When the next one is to be made.
    pub renew_at: Timestamp,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// They could not be made.
    #[error("a certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// The Secret could not be read or written.
    #[error("secret {name}: {}", chain(.source))]
    Secret {
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// A Secret of that name is somebody else's, and is left alone.
    #[error(
        "secret {name}{}: it is not Plimsoll's, by its label {OURS}={OWNER}, so it is left alone; rename or delete it, or give its \
         certificate and key as files (--webhook-cert and --webhook-key, --alerts-cert and --alerts-key)",
        .namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
    )]
    Foreign {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: Option<String>,
    },
    /// The time is out of range.
    #[error("the clock is out of range: {0}")]
    Clock(#[from] jiff::Error),
}

/// True when new ones are needed.
pub fn due(current: Option<&Certificates>, names: &[String], now: Timestamp) -> bool {
    current.is_none_or(|c| now >= c.renew_at || c.names != names)
}

/// Makes a certificate and an authority for it. The authority's key is forgotten at once: with it
/// nobody can make another certificate that the API server would trust.
///
/// # Errors
/// When a name is not one that a certificate can have.
pub fn make(
    names: &[String],
    previous: Option<&Certificates>,
    now: Timestamp,
) -> Result<Certificates, CertificateError> {
    let end = now.checked_add(LIFETIME)?;
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let (month, day) = (u8::try_from(date.month()).unwrap_or(1), u8::try_from(date.day()).unwrap_or(1));
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    let (from, to) = (day(now.checked_sub(SignedDuration::from_hours(24))?), day(end));

    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, format!("plimsoll webhook authority {}", now.as_second()));
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (authority.not_before, authority.not_after) = (from, to);
    let authority_certificate = authority.self_signed(&authority_key)?;

    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "plimsoll webhook");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (from, to);
    let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key))?;

    let mut authorities = authority_certificate.pem();
    // The newest of the previous bundle comes first in it.
    if let Some(old) = previous.and_then(|p| p.authorities.split_inclusive("-----END CERTIFICATE-----").next()) {
        authorities.push_str(old.trim());
        authorities.push('\n');
    }
    Ok(Certificates {
        authorities,
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        names: names.to_vec(),
        renew_at: end.checked_sub(RENEW_BEFORE)?,
    })
}

/// The shared certificates: those of the Secret, or new ones written into it. Replicas that do this
/// at the same time end up with the same ones.
///
/// # Errors
/// When the Secret cannot be read or written, or is somebody else's.
pub async fn shared(
    api: &Api<Secret>,
    name: &str,
    names: &[String],
    now: Timestamp,
) -> Result<Certificates, CertificateError> {
    let failed = |source| CertificateError::Secret { name: name.to_owned(), source };
    for _ in 0..5 {
        let stored = api.get_opt(name).await.map_err(failed)?;
        if stored.as_ref().is_some_and(|stored| !is_ours(stored)) {
            let namespace = api.namespace().map(str::to_owned);
            return Err(CertificateError::Foreign { name: name.to_owned(), namespace });
        }
        let current = stored.as_ref().and_then(read);
        if let Some(current) = current.clone().filter(|current| !due(Some(current), names, now)) {
            return Ok(current);
        }
        let new = make(names, current.as_ref(), now)?;
        let object = secret(name, &new, stored.as_ref().and_then(|s| s.metadata.resource_version.clone()));
        let written = if stored.is_some() {
            api.replace(name, &PostParams::default(), &object).await
        } else {
            api.create(&PostParams::default(), &object).await
        };
        match written {
            Ok(_) => return Ok(new),
            // Another replica was faster; its certificates are as good.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(source) => return Err(failed(source)),
        }
    }
    let status = kube::core::Status::failure("it changes again and again", "Conflict").with_code(409);
    Err(failed(kube::Error::Api(Box::new(status))))
}

fn secret(name: &str, certificates: &Certificates, version: Option<String>) -> Secret {
    let Certificates { authorities, certificate, key, names, renew_at } = certificates;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: version,
            annotations: Some(BTreeMap::from([
                (RENEW_AT.to_owned(), renew_at.to_string()),
                (NAMES.to_owned(), names.join(",")),
            ])),
            labels: Some(BTreeMap::from([(OURS.to_owned(), OWNER.to_owned())])),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(BTreeMap::from([
            ("ca.crt".to_owned(), bytes(authorities)),
            ("tls.crt".to_owned(), bytes(certificate)),
            ("tls.key".to_owned(), bytes(key)),
        ])),
        ..Secret::default()
    }
}

/// Whether we have written the Secret: by the label, or where somebody took that away, by what we note in it.
fn is_ours(secret: &Secret) -> bool {
    let labelled = |labels: &BTreeMap<String, String>| labels.get(OURS).is_some_and(|owner| owner == OWNER);
    let noted = |annotations: &BTreeMap<String, String>| annotations.contains_key(RENEW_AT);
    secret.metadata.labels.as_ref().is_some_and(labelled) || secret.metadata.annotations.as_ref().is_some_and(noted)
}

fn read(secret: &Secret) -> Option<Certificates> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    let annotations = secret.metadata.annotations.as_ref()?;
    Some(Certificates {
        authorities: text("ca.crt")?,
        certificate: text("tls.crt")?,
        key: text("tls.key")?,
        names: annotations.get(NAMES)?.split(',').map(str::to_owned).collect(),
        renew_at: annotations.get(RENEW_AT)?.parse().ok()?,
    })
}

/// How often the Secret is looked at: another replica may have renewed it.
pub const LOOK: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn they_are_renewed_in_time_and_the_last_authority_stays_trusted() {
        let names = vec!["plimsoll-webhook.ops.svc".to_owned(), "127.0.0.1".to_owned()];
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert!(due(None, &names, now));
        let first = make(&names, None, now).unwrap();
        assert!(!due(Some(&first), &names, now));
        assert!(due(Some(&first), &["other".to_owned()], now));
        let later = now.checked_add(LIFETIME - RENEW_BEFORE).unwrap();
        assert!(!due(Some(&first), &names, later.checked_sub(SignedDuration::from_secs(1)).unwrap()));
        assert!(due(Some(&first), &names, later));
        let second = make(&names, Some(&first), later).unwrap();
        let third = make(&names, Some(&second), later).unwrap();
        let count = |c: &Certificates| c.authorities.matches("BEGIN CERTIFICATE").count();
        assert_eq!((count(&first), count(&second), count(&third)), (1, 2, 2));
        assert!(second.authorities.contains(first.authorities.trim()));
        let parsed = read(&secret("x", &second, None)).unwrap();
        assert!(parsed == second);
    }

    /// cert-manager may have been told to write a Secret of that name.
    #[tokio::test]
    async fn a_secret_of_somebody_else_is_left_alone() {
        const PATH: &str = "/api/v1/namespaces/ops/secrets/plimsoll-webhook";
        let api = crate::testing::FakeApi::default();
        let names = vec!["plimsoll-webhook.ops.svc".to_owned()];
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let secrets: Api<Secret> = Api::namespaced(api.client(), "ops");
        let shared = || shared(&secrets, "plimsoll-webhook", &names, now);
        let theirs = |metadata: serde_json::Value| serde_json::json!({"metadata": metadata, "type": "kubernetes.io/tls", "data": {"tls.crt": "eA==", "tls.key": "eA=="}});
        for metadata in [
            serde_json::json!({"name": "plimsoll-webhook"}),
            serde_json::json!({"name": "plimsoll-webhook", "labels": {OURS: "Helm"}, "annotations": {"cert-manager.io/certificate-name": "a"}}),
        ] {
            api.put(PATH, theirs(metadata));
            let why = shared().await.err().unwrap().to_string();
            assert!(why.starts_with("secret plimsoll-webhook in namespace ops: it is not Plimsoll's"), "{why}");
            assert!(why.contains("--webhook-cert"), "{why}");
            assert!(api.writes().is_empty());
        }
        // One of ours, from which nothing can be read, is made anew: also where its label, or its notes, are gone.
        for metadata in [
            serde_json::json!({"name": "plimsoll-webhook", "labels": {OURS: OWNER}}),
            serde_json::json!({"name": "plimsoll-webhook", "annotations": {RENEW_AT: now.to_string()}}),
        ] {
            api.put(PATH, theirs(metadata));
            let made = shared().await.unwrap();
            assert!(read(&serde_json::from_value(api.get(PATH).unwrap()).unwrap()) == Some(made));
        }
    }
}
