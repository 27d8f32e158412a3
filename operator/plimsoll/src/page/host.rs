//! By which names a server on the loopback may be called. A web site can point its own name at 127.0.0.1, and whoever looks at
//! it would let it read what is served here; but the browser says by which name it came.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};

/// Refuses names of others where nobody but this machine is listened to. Elsewhere the names are those of whoever is before
/// it, such as an Ingress.
pub fn guarded(app: Router, listened: SocketAddr) -> Router {
    if listened.ip().to_canonical().is_loopback() { app.layer(middleware::from_fn(only_ours)) } else { app }
}

async fn only_ours(request: Request, next: Next) -> Response {
    if is_ours(request.headers()) {
        return next.run(request).await;
    }
    let why = "this is served to this machine alone: call it by localhost or by its address, also from a proxy\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether the name by which a request came is one that no web site can have: an address, `localhost`, or one of the names
/// that the public DNS will never know.
pub fn is_ours(headers: &HeaderMap) -> bool {
    // A browser always says it.
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
    }
    let name = name.to_ascii_lowercase();
    let local = ["localhost", "internal"];
    name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
        || local.iter().any(|end| name.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')))
        || name == "localhost"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::{body::Body, http::HeaderValue, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    #[test]
    fn names_that_a_web_site_can_have_are_not_ours() {
        let of = |host: &str| {
            is_ours(&[(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap())].into_iter().collect())
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:9110",
            "localhost",
            "LocalHost:9110",
            "plimsoll.localhost:9110",
            "host.docker.internal:9110",
            "192.168.1.7:9110",
            "[::1]",
            "[::1]:9110",
        ] {
            assert!(of(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9110",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9110",
            "evillocalhost",
            "[evil.example]",
            "[127.0.0.1]",
            "::1",
            "",
            ":9110",
            "localhost:evil",
            "127.0.0.1@evil.example",
        ] {
            assert!(!of(host), "{host}");
        }
        assert!(is_ours(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn only_what_listens_on_the_loopback_is_guarded() {
        let ask = |listened: &str, host: &str| {
            let app = Router::new().route("/", get(|| async { "all of it" })).fallback(|| async { "nothing" });
            let app = guarded(app, listened.parse().unwrap());
            let paths = ["/", "/other"];
            let asked = paths.map(|path| Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap());
            let answers = asked.map(|request| app.clone().oneshot(request));
            async move {
                futures::future::join_all(answers)
                    .await
                    .into_iter()
                    .map(|answer| answer.unwrap().status())
                    .collect::<Vec<_>>()
            }
        };
        let (all, none) = (vec![StatusCode::OK; 2], vec![StatusCode::MISDIRECTED_REQUEST; 2]);
        for loopback in ["127.0.0.1:9110", "[::1]:9110", "[::ffff:127.0.0.1]:9110"] {
            assert_eq!(ask(loopback, "evil.example:9110").await, none);
            assert_eq!(ask(loopback, "localhost:9110").await, all);
        }
        assert_eq!(ask("0.0.0.0:8082", "slo.shop.example").await, all, "an Ingress is before it");
    }
}
