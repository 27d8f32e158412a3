#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

use futures::stream;
use plimsoll_api::runbook::S3;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{
    config::{Bucket, Store, Volume},
    sweep::Whose,
    *,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn given() -> (tempfile::TempDir, Archive) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let archive = Archive::volume("evidence", &config(folder.path())).unwrap();
    (folder, archive)
}

fn config(directory: &std::path::Path) -> ArtifactsConfig {
    let volumes = BTreeMap::from([("evidence".to_owned(), Volume { directory: directory.to_owned() })]);
    ArtifactsConfig { volumes, stores: BTreeMap::new() }
}

fn place(execution: &str) -> Place {
    let [namespace, runbook, step] = ["shop", "crash", "heap"].map(str::to_owned);
    Place { namespace, runbook, execution: execution.to_owned(), step }
}

fn content(size: usize, chunk: usize) -> impl Stream<Item = Result<Bytes, String>> {
    let whole: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
    stream::iter(whole.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect::<Vec<_>>())
}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let under = |path: &std::path::Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    let all = walkdir::WalkDir::new(folder.path()).sort_by_file_name().into_iter().flatten();
    all.filter(|entry| entry.file_type().is_file()).map(|entry| under(entry.path())).collect()
}

#[tokio::test]
async fn what_is_kept_is_what_was_given_and_the_manifest_says_so() {
    let (folder, archive) = given();
    let later = NOW + jiff::SignedDuration::from_hours(1);
    let mut shelf = archive.shelf(place("x"), 1 << 30, NOW, later).await.unwrap();
    // More than one part, and a part that is not full.
    let size = 2 * PART + 17;
    let kept = shelf.put("heap.pb.gz", content(size, 100_000), Limit::Refuse(1 << 30)).await.unwrap();
    assert_eq!(kept.location, "volume://evidence/shop/crash/x/heap/heap.pb.gz");
    assert_eq!((kept.bytes, kept.truncated), (i64::try_from(size).unwrap(), None));
    let file = folder.path().join("shop/crash/x/heap/heap.pb.gz");
    let stored = std::fs::read(&file).unwrap();
    assert_eq!(stored.len(), size);
    let hash = Sha256::digest(&stored).iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(kept.sha256, hash);
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(file.with_file_name(MANIFEST)).unwrap()).unwrap();
    assert_eq!((manifest.place, manifest.expires), (place("x"), later));
    assert_eq!(manifest.artifacts[0].sha256, hash);
    // Nobody else can come in.
    assert_eq!(std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o007, 0);
}

/// The last words of a container are at the end of its log, however it comes in.
#[tokio::test]
async fn of_a_long_log_the_end_is_kept() {
    let (folder, archive) = given();
    let mut shelf = archive.shelf(place("x"), 1 << 30, NOW, NOW).await.unwrap();
    let size = PART + 1000;
    let whole: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
    for (most, chunk, truncated) in [
        (7, 97, Some(true)),
        (1000, 300, Some(true)),
        (1000, size, Some(true)),
        (PART + 999, 4096, Some(true)),
        (size, 4096, None),
        (size + 1, 4096, None),
    ] {
        let kept = shelf.put("log", content(size, chunk), Limit::End(u64::try_from(most).unwrap())).await.unwrap();
        let stored = std::fs::read(folder.path().join("shop/crash/x/heap/log")).unwrap();
        assert!(stored == whole[size - most.min(size)..], "{most} of chunks of {chunk}");
        assert_eq!((kept.bytes, kept.truncated), (i64::try_from(most.min(size)).unwrap(), truncated));
    }
    let empty = shelf.put("log", content(0, 1), Limit::End(9)).await.unwrap();
    assert_eq!((empty.bytes, empty.truncated), (0, None));
}

#[tokio::test]
async fn limits_cut_or_refuse_and_leave_nothing_half() {
    let (folder, archive) = given();
    let mut shelf = archive.shelf(place("x"), 1 << 30, NOW, NOW).await.unwrap();
    let cut = shelf.put("log", content(1000, 300), Limit::Cut(500)).await.unwrap();
    assert_eq!((cut.bytes, cut.truncated), (500, Some(true)));
    let large = shelf.put("dump", content(PART + 2, 1 << 20), Limit::Refuse(u64::try_from(PART).unwrap() + 1)).await;
    assert!(matches!(large, Err(ArtifactError::TooLarge(_))), "{large:?}");
    let broken = content(PART + 2, 1 << 20).chain(stream::iter([Err("the pod went".to_owned())]));
    let broken = shelf.put("dump", broken, Limit::Refuse(1 << 30)).await.unwrap_err();
    assert_eq!(broken.to_string(), "it could not be read to its end: the pod went");
    let left = files(&folder);
    assert_eq!(left, ["shop/crash/x/heap/log", "shop/crash/x/heap/manifest.json"]);
}

#[tokio::test]
async fn a_runbook_has_its_quota_and_no_other_s() {
    let (_folder, archive) = given();
    let quota = 3000;
    let mut shelf = archive.shelf(place("x"), quota, NOW, NOW).await.unwrap();
    shelf.put("a", content(1000, 1000), Limit::Refuse(2000)).await.unwrap();
    // Again, after a crash: it is counted once.
    shelf.put("a", content(1500, 1000), Limit::Refuse(2000)).await.unwrap();
    let full = shelf.put("b", content(1500, 1000), Limit::Refuse(2000)).await.unwrap_err();
    assert!(matches!(full, ArtifactError::Full { quota: 3000, .. }), "{full}");
    let other = Place { runbook: "other".to_owned(), ..place("x") };
    let mut others = archive.shelf(other, quota, NOW, NOW).await.unwrap();
    others.put("b", content(1500, 1000), Limit::Refuse(2000)).await.unwrap();
}

/// What is kept counts as long as it is there: of executions that are gone, and after a restart.
#[tokio::test]
async fn a_quota_counts_what_is_there_whoever_opens_the_store() {
    let (folder, archive) = given();
    let quota = 3000;
    let mut shelf = archive.shelf(place("gone"), quota, NOW, NOW).await.unwrap();
    shelf.put("a", content(2000, 1000), Limit::Refuse(2000)).await.unwrap();
    let again = Archive::volume("evidence", &config(folder.path())).unwrap();
    let mut shelf = again.shelf(place("x"), quota, NOW, NOW).await.unwrap();
    let full = shelf.put("a", content(1000, 1000), Limit::Refuse(1000)).await.unwrap_err();
    assert!(matches!(full, ArtifactError::Full { quota: 3000, used } if used > 2000), "{full}");
    // A runbook of the same name in another namespace is another runbook.
    let other = Place { namespace: "bank".to_owned(), ..place("x") };
    let mut others = again.shelf(other, quota, NOW, NOW).await.unwrap();
    others.put("a", content(1000, 1000), Limit::Refuse(1000)).await.unwrap();
    // And what is swept leaves its room.
    assert_eq!(again.sweep(Whose::All, NOW).await.unwrap(), 3);
    let mut shelf = again.shelf(place("y"), quota, NOW, NOW).await.unwrap();
    shelf.put("a", content(1000, 1000), Limit::Refuse(1000)).await.unwrap();
}

/// In what a store grants, each runbook has a prefix of its own, and nobody need know it.
#[tokio::test]
async fn what_is_below_a_granted_place_says_itself_when_it_goes() {
    let (folder, archive) = given();
    let below = |prefix: &str| Archive { base: Path::parse(prefix).unwrap(), ..archive.clone() };
    for prefix in ["a", "a/deep/er", "b"] {
        let archive = below(prefix);
        for namespace in ["shop", "bank"] {
            let at = Place { namespace: namespace.to_owned(), ..place("x") };
            archive.shelf(at, 1 << 20, NOW, NOW).await.unwrap();
        }
    }
    let manifest = folder.path().join("a/shop/crash/x/heap/manifest.json");
    let forged = folder.path().join("a/shop/crash/x/other");
    std::fs::create_dir_all(&forged).unwrap();
    std::fs::copy(manifest, forged.join(MANIFEST)).unwrap();
    let shop = ["shop".to_owned()];
    assert_eq!(below("a").sweep(Whose::Below(&shop), NOW).await.unwrap(), 2);
    let left = [
        "a/bank/crash/x/heap/manifest.json",
        "a/deep/er/bank/crash/x/heap/manifest.json",
        "a/shop/crash/x/other/manifest.json",
        "b/bank/crash/x/heap/manifest.json",
        "b/shop/crash/x/heap/manifest.json",
    ];
    assert_eq!(files(&folder), left);
    assert_eq!(below("a").sweep(Whose::Below(&[]), NOW).await.unwrap(), 2);
}

#[tokio::test]
async fn what_has_come_to_its_end_goes_and_nothing_else() {
    let (folder, archive) = given();
    let end = NOW + jiff::SignedDuration::from_hours(1);
    for (execution, expires) in [("old", end), ("new", end + jiff::SignedDuration::from_hours(1))] {
        let mut shelf = archive.shelf(place(execution), 1 << 20, NOW, expires).await.unwrap();
        shelf.put("a", content(10, 10), Limit::Cut(10)).await.unwrap();
    }
    // A manifest that speaks of other places than its own moves nothing there.
    let forged = folder.path().join("shop/forged");
    std::fs::create_dir_all(&forged).unwrap();
    std::fs::copy(folder.path().join("shop/crash/old/heap/manifest.json"), forged.join(MANIFEST)).unwrap();
    assert_eq!(archive.sweep(Whose::All, end - jiff::SignedDuration::from_secs(1)).await.unwrap(), 0);
    assert_eq!(archive.sweep(Whose::Namespace("shop"), end).await.unwrap(), 1);
    let left = files(&folder);
    assert_eq!(
        left,
        ["shop/crash/new/heap/a", "shop/crash/new/heap/manifest.json", "shop/forged/manifest.json"],
        "{left:?}"
    );
}

#[tokio::test]
async fn what_is_not_configured_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let error = Archive::volume("other", &config(folder.path())).unwrap_err();
    assert_eq!(error.to_string(), "spec.artifacts: the operator's configuration has no volume other; it has: evidence");
    assert!(Archive::volume("evidence", &config(&folder.path().join("gone"))).is_err());
    let buckets = vec![Bucket { name: "dumps".to_owned(), ..Bucket::default() }];
    let unpaired = Store { access_key_id_file: Some("x".into()), buckets, ..Store::default() };
    let config = ArtifactsConfig { stores: [("m".to_owned(), unpaired)].into(), ..ArtifactsConfig::default() };
    let mut problems = Vec::new();
    config.check("artifacts", &mut problems);
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["artifacts.stores.m: accessKeyIdFile and secretAccessKeyFile belong together; add secretAccessKeyFile"]
    );
}

/// Whoever writes a runbook does not get what the operator may do in a cloud.
#[tokio::test]
async fn the_operator_s_own_keys_are_granted_by_bucket_and_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "k").unwrap();
    let allowed = |name: &str, prefix: &str, namespaces: &[&str]| Bucket {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
    };
    let store = Store {
        access_key_id_file: Some(key.clone()),
        secret_access_key_file: Some(key),
        buckets: vec![allowed("dumps", "a/b", &["shop"]), allowed("open", "", &[])],
        ..Store::default()
    };
    let stores = [("minio".to_owned(), store), ("bare".to_owned(), Store::default())].into();
    let config = ArtifactsConfig { stores, ..ArtifactsConfig::default() };
    let api = crate::testing::FakeApi::default();
    let secret =
        serde_json::json!({"metadata": {"name": "own"}, "data": {"accessKeyId": "eA==", "secretAccessKey": "eA=="}});
    api.put("/api/v1/namespaces/shop/secrets/own", secret);
    for (namespace, bucket, prefix, store, secret, wanted) in [
        ("shop", "dumps", "a/b", Some("minio"), None, true),
        ("shop", "dumps", "a/b/c", Some("minio"), None, true),
        ("shop", "dumps", "a/bc", Some("minio"), None, false),
        ("shop", "dumps", "", Some("minio"), None, false),
        ("bank", "dumps", "a/b", Some("minio"), None, false),
        ("bank", "open", "x", Some("minio"), None, true),
        ("shop", "payroll", "a/b", Some("minio"), None, false),
        // Neither the pod's role nor its environment, unless a store says so.
        ("shop", "dumps", "a/b", None, None, false),
        ("shop", "dumps", "a/b", Some("bare"), None, false),
        ("shop", "payroll", "x", None, Some("own"), true),
        ("shop", "payroll", "x", Some("bare"), Some("own"), true),
    ] {
        let s3 = S3 {
            bucket: bucket.to_owned(),
            prefix: Some(prefix.to_owned()),
            store: store.map(str::to_owned),
            secret_name: secret.map(str::to_owned),
        };
        let artifacts = plimsoll_api::runbook::Artifacts { s3: Some(s3), ..Default::default() };
        let opened = Archive::open(&artifacts, &config, &api.client(), namespace).await;
        let words = opened.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(opened.is_ok(), wanted, "{namespace} {bucket}/{prefix} {store:?} {secret:?}: {words}");
        assert!(wanted || words.contains("may not write to bucket"), "{words}");
    }
    let told = |store: Store| {
        let config = ArtifactsConfig { stores: [("m".to_owned(), store)].into(), ..ArtifactsConfig::default() };
        let mut problems = Vec::new();
        config.check("artifacts", &mut problems);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        told(Store { pod_role: true, ..Store::default() }),
        [
            "artifacts.stores.m.buckets: the store's own keys may be used for no bucket; write buckets: [{name: evidence}]"
        ]
    );
    assert_eq!(
        told(Store { buckets: vec![allowed("a", "", &[])], ..Store::default() }),
        ["artifacts.stores.m.buckets: the store has no keys for them; add the files with its keys, or podRole: true"]
    );
}

/// The requests of the client for a bucket: signed, with the keys of the runbook, under its prefix.
#[tokio::test]
async fn a_bucket_is_spoken_to_with_the_given_keys() {
    crate::prometheus::http_client().unwrap();
    let server = MockServer::start().await;
    let list = r#"<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"#;
    Mock::given(wiremock::matchers::method("HEAD")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
    Mock::given(wiremock::matchers::method("GET"))
        .respond_with(ResponseTemplate::new(200).set_body_string(list))
        .mount(&server)
        .await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).insert_header("etag", "\"e\"")).mount(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let store = Store {
        endpoint: Some(server.uri()),
        access_key_id_file: Some(file("id", "the-id\n")),
        secret_access_key_file: Some(file("secret", "the-secret\n")),
        buckets: vec![Bucket { name: "dumps".to_owned(), ..Bucket::default() }],
        ..Store::default()
    };
    let config = ArtifactsConfig { stores: [("minio".to_owned(), store)].into(), ..ArtifactsConfig::default() };
    let s3 = S3 {
        bucket: "dumps".to_owned(),
        prefix: Some("a/b".to_owned()),
        store: Some("minio".to_owned()),
        secret_name: None,
    };
    let artifacts = plimsoll_api::runbook::Artifacts { s3: Some(s3), ..Default::default() };
    let client = crate::testing::FakeApi::default().client();
    let archive = Archive::open(&artifacts, &config, &client, "shop").await.unwrap();
    let mut shelf = archive.shelf(place("x"), 1 << 20, NOW, NOW).await.unwrap();
    let kept = shelf.put("log", content(10, 10), Limit::Cut(10)).await.unwrap();
    assert_eq!(kept.location, "s3://dumps/a/b/shop/crash/x/heap/log");
    let requests = server.received_requests().await.unwrap();
    let puts: Vec<_> = requests.iter().filter(|r| r.method == "PUT").collect();
    let paths: Vec<&str> = puts.iter().map(|r| r.url.path()).collect();
    let manifest = "/dumps/a/b/shop/crash/x/heap/manifest.json";
    assert_eq!(paths, [manifest, "/dumps/a/b/shop/crash/x/heap/log", manifest]);
    for request in requests {
        let signature = request.headers["authorization"].to_str().unwrap();
        assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=the-id/"), "{signature}");
    }
}
