//! The page in a real browser: what `tests/page/check.mjs` looks at, each check a test of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use plimsoll::page::{Site, serve_on};
use plimsoll_e2e::{CONTROL_PLANE, Needs, Test, Testbed, operator::Operator, test};
use plimsoll_testbed::{ControlPlane, ControlPlaneOptions, cache_folder, free_port, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpListener,
    process::Command,
    sync::OnceCell,
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{SOON, apply, install, slo},
    page_shop::Shop,
};

/// A browser, and what drives it.
const BROWSER: Needs = Needs { components: &[], node: false, programs: &["chromium", "node", "npm"] };
/// Longer than any wait inside a check.
const DEADLINE: Duration = Duration::from_secs(240);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test(BROWSER, every_view_is_for_everybody),
        test(BROWSER, all_is_read_without_a_script),
        test(BROWSER, changes_are_seen_as_they_happen),
        test(BROWSER, who_is_refused_comes_back),
        test(BROWSER, the_keyboard_reaches_everything),
        test(BROWSER, the_filter_is_the_address),
        test(BROWSER, a_decision_wants_a_token),
        test(BROWSER, a_thousand_slos_are_small),
        test(BROWSER, last_known_values_stay),
        test(BROWSER, nothing_yet_says_what_to_do),
        test(CONTROL_PLANE, the_operator_serves_what_is_stored),
    ]
}

async fn every_view_is_for_everybody(_: &Testbed) -> Result<()> {
    check("accessible", Shop::open(now()), |_| {}).await
}

async fn all_is_read_without_a_script(_: &Testbed) -> Result<()> {
    check("without_script", Shop::open(now()), |_| {}).await
}

async fn changes_are_seen_as_they_happen(_: &Testbed) -> Result<()> {
    check("live", Shop::open(now()), Shop::burn).await
}

async fn who_is_refused_comes_back(_: &Testbed) -> Result<()> {
    check("refused", Shop::open(now()), Shop::burn).await
}

async fn the_keyboard_reaches_everything(_: &Testbed) -> Result<()> {
    check("keyboard", Shop::open(now()), |_| {}).await
}

async fn the_filter_is_the_address(_: &Testbed) -> Result<()> {
    check("filter", Shop::open(now()), |_| {}).await
}

async fn a_decision_wants_a_token(_: &Testbed) -> Result<()> {
    check("decide", Shop::open(now()), |_| {}).await
}

async fn a_thousand_slos_are_small(_: &Testbed) -> Result<()> {
    check("thousand", Shop::many(now(), 1000), |_| {}).await
}

async fn last_known_values_stay(_: &Testbed) -> Result<()> {
    let shop = Shop::open(now());
    shop.away.store(true, Ordering::Relaxed);
    check("away", shop, |_| {}).await
}

async fn nothing_yet_says_what_to_do(_: &Testbed) -> Result<()> {
    check("empty", Shop::empty(now()), |_| {}).await
}

async fn the_operator_serves_what_is_stored(testbed: &Testbed) -> Result<()> {
    let plane = ControlPlane::start(testbed.bin(), ControlPlaneOptions::api_only()).await?;
    let client = install(&plane).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut operator = Operator::start(testbed.plimsoll()?, &plane, &["--page-listen", &address]).await?;
    let read = async |path: &str| -> Result<String> {
        Ok(reqwest::get(format!("http://{address}{path}")).await?.error_for_status()?.text().await?)
    };
    let shows = async |what: &str, text: &str| {
        wait_until(what, SOON, async || Ok(read("/").await?.contains(text).then_some(()))).await
    };
    shows("the page without an SLO", "There is no SLO yet.").await?;
    apply(&client, "default", &[slo("served")]).await?;
    shows("the SLO on the page", "/slo/default/served").await?;
    let view = read("/slo/default/served").await?;
    ensure!(view.contains("slo:burn_rate:window"), "its rules are not there: {view}");
    ensure!(view.contains("no Prometheus is configured"), "nobody was asked, and that is not said: {view}");
    // Runbooks are not run, so nothing is decided here.
    let decision = format!("http://{address}/executions/default/x/decision");
    let status = reqwest::Client::new().post(decision).send().await?.status();
    ensure!(status == reqwest::StatusCode::NOT_FOUND, "{status}");
    // A reader who listens does not keep it from ending.
    let listening = reqwest::get(format!("http://{address}/live")).await?;
    operator.stop().await?;
    drop(listening);
    Ok(())
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Serves the shop and runs one check on it; what the check asks for with a line `CHANGE` is done then.
async fn check(name: &str, shop: Shop, change: impl Fn(&Shop)) -> Result<()> {
    let shop = Arc::new(shop);
    let stop = CancellationToken::new();
    let mut site = Site::new(Arc::clone(&shop) as _, Arc::clone(&shop) as _, stop.clone());
    site.explains = Some(Arc::clone(&shop) as _);
    site.decides = Some(Arc::clone(&shop) as _);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(serve_on(listener, site));
    let checked = tokio::time::timeout(DEADLINE, browse(name, &address, || change(&shop))).await;
    stop.cancel();
    // A browser that hangs holds its connections.
    serving.abort();
    checked.with_context(|| format!("{name} still runs after {DEADLINE:?}"))?
}

async fn browse(name: &str, address: &str, change: impl Fn()) -> Result<()> {
    let modules = modules().await?;
    let browser = find("chromium").context("chromium is not on the path any more")?;
    let mut child = Command::new("node")
        .arg(folder().join("check.mjs"))
        .args([name, address])
        .env("PAGE_MODULES", modules)
        .env("PAGE_BROWSER", browser)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("node")?;
    let stdin = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().context("standard output is a pipe")?).lines();
    let mut errors = child.stderr.take().context("standard error is a pipe")?;
    let telling = async {
        let mut text = String::new();
        errors.read_to_string(&mut text).await.map(|_| text)
    };
    let reading = async {
        while let Some(line) = lines.next_line().await? {
            if line == "CHANGE" { change() } else { println!("{line}") }
        }
        anyhow::Ok(())
    };
    let (read, told) = tokio::join!(reading, telling);
    read?;
    let status = child.wait().await?;
    drop(stdin);
    ensure!(status.success(), "{name}: {}", told?);
    Ok(())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../page")
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The browser's driver and the checker for accessibility, in the versions of the lock file: once for each lock file, in the
/// user's cache.
async fn modules() -> Result<&'static Path> {
    static MODULES: OnceCell<PathBuf> = OnceCell::const_new();
    let installing = || async {
        let lock = std::fs::read(folder().join("package-lock.json"))?;
        let place = cache_folder()?.join("page-tests").join(key(&lock));
        if place.join("node_modules").is_dir() {
            return Ok(place);
        }
        std::fs::create_dir_all(place.parent().context("the folder has a parent")?)?;
        // Whole or not at all, also when two runs begin at once.
        let fresh = place.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&fresh)?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(folder().join(file), fresh.join(file))?;
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&fresh)
            .output()
            .await
            .context("npm")?;
        ensure!(npm.status.success(), "npm ci: {}", String::from_utf8_lossy(&npm.stderr));
        if std::fs::rename(&fresh, &place).is_err() {
            // Somebody else was first.
            std::fs::remove_dir_all(&fresh)?;
        }
        ensure!(place.join("node_modules").is_dir(), "{} has no node_modules", place.display());
        anyhow::Ok(place)
    };
    Ok(MODULES.get_or_try_init(installing).await?)
}

/// Tells lock files apart.
fn key(lock: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(lock).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
