//! Why a server cannot be reached, in words: what the layers of a client say of it, one in the other, helps nobody.

use std::{error::Error, io};

use rustls::CertificateError;

type Cause<'e> = &'e (dyn Error + 'static);

/// Where a client begins to say why it was not answered, and what stands for all of that; nothing where there is no such
/// cause, or one that nobody has words for.
pub(super) fn find(causes: &[Cause<'_>]) -> Option<(usize, String)> {
    let place = causes.iter().position(|cause| is_client(*cause))?;
    let below = causes.get(place..)?;
    let mut told = words(below)?;
    // A kubeconfig names its authority itself.
    if told == UNTRUSTED && below.first().is_some_and(|cause| cause.is::<reqwest::Error>()) {
        told.push_str("; SSL_CERT_FILE may name a file with those that are");
    }
    Some((place, told))
}

fn is_client(cause: Cause<'_>) -> bool {
    let kube = || matches!(cause.downcast_ref(), Some(kube::Error::Service(_) | kube::Error::HyperError(_)));
    cause.is::<reqwest::Error>() || kube()
}

fn words(causes: &[Cause<'_>]) -> Option<String> {
    if causes.iter().any(|cause| cause.to_string() == "dns error") {
        let resolver = causes.last().map(ToString::to_string).unwrap_or_default();
        let own = resolver.strip_prefix("failed to lookup address information: ").unwrap_or(&resolver);
        return Some(format!("its name cannot be found ({own})"));
    }
    // The innermost knows best.
    if let Some(told) = causes.iter().rev().find_map(|cause| of_one(*cause)) {
        return Some(told);
    }
    let request = causes.first()?.downcast_ref::<reqwest::Error>().filter(|error| error.is_timeout())?;
    Some(if request.is_connect() { TIMED_OUT } else { "it did not answer in time" }.to_owned())
}

const UNTRUSTED: &str = "its certificate is of an authority that is not trusted here";
const TIMED_OUT: &str = "nothing answers there in time: the address may be wrong, or a firewall in between";

fn of_one(cause: Cause<'_>) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        // Its own words are those of what it wraps, which is not among its causes, and may be another one of its kind.
        let wrapped = error.get_ref().and_then(|inner| of_one(inner));
        return wrapped.or_else(|| of_system(error).map(str::to_owned));
    }
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        let told = match error {
            _ if error.is_incomplete_message() => "it closes the connection before its answer is whole",
            _ if error.is_parse() => "what it answers is no HTTP: is the port right, and http:// or https://?",
            _ => return None,
        };
        return Some(told.to_owned());
    }
    cause.downcast_ref::<rustls::Error>().map(of_tls)
}

fn of_system(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens on this port there",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            "it breaks off the connection"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no way leads there from this network",
        io::ErrorKind::TimedOut => TIMED_OUT,
        io::ErrorKind::UnexpectedEof => "it closes the connection before its answer is whole",
        _ => return None,
    })
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => UNTRUSTED.to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or the clock here is wrong".to_owned()
            }
            CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
            other => format!("its certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "it does not speak TLS: is it http:// instead of https://?".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("it ends the TLS handshake: {alert:?}"),
        other => format!("TLS fails: {other}"),
    }
}

#[cfg(test)]
#[path = "unreached_tests.rs"]
mod tests;
