//! The client with which a step acts: the operator's own connection, but as the runbook's ServiceAccount. What that
//! account may not do, the step cannot do.

use http::{HeaderName, HeaderValue, Request};
use kube::{Client, client::Body};

use crate::trace;

/// The API server checks that the operator may impersonate the account, and then every right of the account.
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");

/// The name by which the API server knows a ServiceAccount.
pub fn user(namespace: &str, account: &str) -> String {
    format!("system:serviceaccount:{namespace}:{account}")
}

/// A client that is this ServiceAccount, through the same gate. Each request continues the trace.
///
/// # Errors
/// When the name cannot be one of an account.
pub fn client(
    own: &Client,
    namespace: &str,
    account: &str,
    traceparent: Option<&str>,
) -> Result<Client, http::header::InvalidHeaderValue> {
    let user = HeaderValue::try_from(user(namespace, account))?;
    let traceparent = traceparent.map(str::to_owned);
    let own = own.clone();
    let as_account = tower::service_fn(move |mut request: Request<Body>| {
        let headers = request.headers_mut();
        headers.insert(IMPERSONATE, user.clone());
        if let Some(value) = traceparent.as_deref().and_then(trace::child).and_then(|text| text.parse().ok()) {
            headers.insert(trace::TRACEPARENT, value);
        }
        let own = own.clone();
        async move { own.send(request).await }
    });
    Ok(Client::new(as_account, namespace))
}
