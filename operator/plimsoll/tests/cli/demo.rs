//! A shop in memory, as text and as a page, with nothing else on the machine.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
    process::Child,
    time::Duration,
};

use super::*;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks the page; its status line and everything else that it says.
fn ask(address: &str, method: &str, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    (text.lines().next().unwrap_or_default().to_owned(), text)
}

#[test]
fn a_shop_that_is_broken_and_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(directory.path(), &["demo", "--port", "0"]);
    let mut child = Running(child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.by_ref().take_while(|line| !line.starts_with("Its button")).collect();
    let text = said.join("\n");
    // Worst first: more than all of the budget of the payments is gone. Before it is what alerts, as the checkout may
    // while it is busy.
    let payments = said.iter().position(|line| line.starts_with("shop/payment-availability")).unwrap();
    assert!(said[payments].contains(" -"), "{text}");
    let alerts = |line: &String| line.contains(" ticket ") || line.contains(" page ");
    assert!(said[..payments].iter().filter(|line| line.starts_with("shop/")).all(alerts), "{text}");
    let table = said.iter().skip_while(|line| !line.starts_with("SLO ")).take_while(|line| !line.is_empty());
    assert_eq!(table.filter(|line| line.starts_with("shop/")).count(), 8, "{text}");
    for part in [
        "The scorer expected",
        "rollback-on-burn",
        "telemetry-while-burning",
        "mode DryRun: nothing is sent",
        "Everything here is simulated.",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }

    let page = said.last().and_then(|line| line.strip_prefix("The page: http://")).unwrap();
    let address = page.split('/').next().unwrap().to_owned();
    let (status, view) = ask(&address, "GET", "/", "");
    assert!(status.contains("200") && view.contains("payment-availability") && view.contains("Break the checkout"));
    let button = view.split("action=\"").find_map(|rest| rest.strip_prefix("/demo/fault")).unwrap();
    let switch = format!("/demo/fault{}", button.split('"').next().unwrap().replace("&amp;", "&"));
    assert!(switch.contains("on=true"), "{switch}");
    let (_, runs) = ask(&address, "GET", "/runbooks", "");
    assert!(runs.contains("rollback-on-burn") && runs.contains("it would have been done"), "{runs}");

    // A dry run says what would be sent, and not that something was done.
    let path = runs.split("href=\"").find(|rest| rest.starts_with("/executions/shop/rollback-on-burn-")).unwrap();
    let (_, run) = ask(&address, "GET", path.split('"').next().unwrap(), "");
    for part in
        ["Dry run", "it would have been done", "would be done", "PATCH /apis/apps/v1/namespaces/shop/deployments/"]
    {
        assert!(run.contains(part), "{part} is missing:\n{run}");
    }
    assert!(!run.contains("Succeeded") && !run.contains("not begun"), "{run}");

    let (_, alerts) = ask(&address, "GET", "/alertrules", "");
    assert!(alerts.contains("CheckoutTrafficUnusual"), "{alerts}");
    let (_, alerts) = ask(&address, "GET", "/alertrules/shop/checkout-traffic?range=1d", "");
    for part in ["Anomaly score", "Expected band", "plimsoll_anomaly_state"] {
        assert!(alerts.contains(part), "{part} is missing:\n{alerts}");
    }

    let burn = |address: &str| -> f64 {
        let (_, view) = ask(address, "GET", "/?q=checkout-availability", "");
        view.split("<td class=\"n\">").nth(1).and_then(|rest| rest.split('<').next()?.parse().ok()).unwrap()
    };
    assert!(burn(&address) < 1.0, "{view}");

    // Neither without the token, nor from another site, nor under another name.
    let ours = format!("Origin: http://{address}\r\n");
    for (path, headers) in [
        ("/demo/fault?on=true&token=00", ours.as_str()),
        ("/demo/fault?on=true", ours.as_str()),
        (switch.as_str(), "Origin: http://elsewhere.example\r\n"),
        (switch.as_str(), ""),
    ] {
        assert!(ask(&address, "POST", path, headers).0.contains("403"), "{path} {headers}");
    }
    assert!(ask(&address, "GET", "/", "").1.contains("Break the checkout"));
    assert!(ask(&address, "POST", &switch, &ours).0.contains("303"));
    assert!(ask(&address, "GET", "/", "").1.contains("Repair the checkout"));
    // The page's own news say when to look.
    let mut live = TcpStream::connect(&address).unwrap();
    live.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    live.write_all(format!("GET /live HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut news = BufReader::new(live).lines().map(|line| line.expect("nothing has changed for long"));
    while burn(&address) < 1.0 {
        assert!(news.any(|line| line.starts_with("event: change")), "the page says nothing any more");
    }
    assert!(ask(&address, "POST", &switch.replace("true", "false"), &ours).0.contains("303"));
    assert!(ask(&address, "GET", "/", "").1.contains("Break the checkout"));
}

#[test]
fn a_taken_port_and_a_broken_shop_in_text() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = run(directory.path(), &["demo", "--port", &port]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")) && ran.stderr.contains("--port"),
        "{}",
        ran.stderr
    );

    let ran = run(directory.path(), &["demo", "--fault", "--once"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let slos: Vec<&str> = ran.stdout.lines().skip(1).take_while(|line| !line.is_empty()).collect();
    let checkout = slos.iter().find(|line| line.starts_with("shop/checkout-availability")).unwrap();
    assert!(checkout.contains("page"), "ten minutes of an outage page nobody:\n{}", ran.stdout);
    // The column of alerts: what an SLO promises may speak of a page as well.
    let pages = |line: &&str| line.split_whitespace().nth(4) == Some("page");
    let last_page = slos.iter().rposition(pages).unwrap();
    assert!(slos.iter().take(last_page + 1).all(pages), "pages first:\n{}", ran.stdout);
    assert!(ran.stdout.contains("rollback-on-burn matches the alert fast"), "{}", ran.stdout);
}
