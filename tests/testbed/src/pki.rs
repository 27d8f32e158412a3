//! Certificates of the control plane. Its three authorities are of this run only and live in its temporary folder.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority, as a file and ready to sign.
pub(crate) struct Authority {
    pub(crate) certificate: PathBuf,
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let mut params = params(name, None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = folder.join(format!("{name}.crt"));
        fs::write(&certificate, params.self_signed(&key)?.pem())?;
        Ok(Self { certificate, folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// A certificate that a server shows on the loopback interface.
    pub(crate) fn server(&self, name: &str) -> Result<Identity> {
        let mut params = params(name, None);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::DnsName("kubernetes.default.svc".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        ];
        self.sign(name, &params)
    }

    /// A certificate that a client shows; Kubernetes reads the user from its name and
    /// a group from its organization.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = params(user, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&file_name(user), &params)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let identity = Identity {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
        };
        fs::write(&identity.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

/// A key pair without a certificate: what signs service account tokens. `certificate` is the public key.
pub(crate) fn key_pair(folder: &Path, name: &str) -> Result<Identity> {
    let key = KeyPair::generate()?;
    let identity =
        Identity { certificate: folder.join(format!("{name}.pub")), key: folder.join(format!("{name}.key")) };
    fs::write(&identity.certificate, key.public_key_pem())?;
    fs::write(&identity.key, key.serialize_pem())?;
    Ok(identity)
}

/// A user's name as a file's: users of Kubernetes have colons in their names.
pub(crate) fn file_name(user: &str) -> String {
    user.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

fn params(name: &str, organization: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params
}
