//! Addresses to listen at, as people write them.

use std::net::{Ipv4Addr, SocketAddr};

/// `0.0.0.0:8080`, `[::]:8080`, and `8080` or `:8080` for every address of the machine; `localhost:8080` for itself alone.
///
/// # Errors
/// What to write.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let host = match host {
        "" => Ok(Ipv4Addr::UNSPECIFIED),
        "localhost" => Ok(Ipv4Addr::LOCALHOST),
        other => other.parse().map_err(|_| ()),
    };
    match (host, port.parse::<u16>()) {
        (_, Err(_)) if digits => Err(format!("there is no port {port}; the highest is 65535")),
        (Ok(host), Ok(port)) => Ok((host, port).into()),
        (Ok(_), Err(_)) if text.parse::<Ipv4Addr>().is_ok() => Err(format!("the port is missing; write {text}:8080")),
        _ => Err("write an address and a port, such as 0.0.0.0:8080 or 127.0.0.1:8080, or a port alone".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_port_alone_is_enough() {
        for (text, wanted) in [
            ("0.0.0.0:8080", Ok("0.0.0.0:8080")),
            ("8080", Ok("0.0.0.0:8080")),
            (":8080", Ok("0.0.0.0:8080")),
            ("localhost:8080", Ok("127.0.0.1:8080")),
            ("[::1]:8080", Ok("[::1]:8080")),
            ("0", Ok("0.0.0.0:0")),
            ("127.0.0.1", Err("the port is missing; write 127.0.0.1:8080")),
            ("99999", Err("there is no port 99999; the highest is 65535")),
            ("localhost", Err("write an address and a port, such as 0.0.0.0:8080 or 127.0.0.1:8080, or a port alone")),
            (
                "plimsoll:8080",
                Err("write an address and a port, such as 0.0.0.0:8080 or 127.0.0.1:8080, or a port alone"),
            ),
            ("", Err("write an address and a port, such as 0.0.0.0:8080 or 127.0.0.1:8080, or a port alone")),
        ] {
            let parsed = parse(text).map(|address| address.to_string());
            assert_eq!(parsed.as_ref().map(String::as_str).map_err(String::as_str), wanted, "{text}");
        }
    }
}
