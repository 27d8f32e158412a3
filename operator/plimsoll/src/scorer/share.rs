//! What replicas tell each other: of each shard a ConfigMap, written by whoever holds the shard and when something changes.
//! It has what the shard's holder sees of each object, which the leader puts into the conditions, and the network, from which
//! a shard begins of which nothing is stored, and which the shards average now and then.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use futures::{StreamExt as _, future::join_all, stream};
use k8s_openapi::{ByteString, api::core::v1::ConfigMap};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher::watch_object},
};
use plimsoll_api::Kind;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    facts::{Fact, Owner},
    shards::name,
};
use crate::{
    operator::{gate::GateLayer, metrics::Metrics},
    sinks::kubernetes::{MANAGED_BY, chain},
};

/// Of the scorer's own objects.
const FIELD_MANAGER: &str = "plimsoll-scorer";
/// Keys of the ConfigMap: facts as JSON, compressed, and the network.
const FACTS: &str = "facts.json.gz";
const NETWORK: &str = "network";
/// What the facts may take; the API server takes a megabyte in all. It is room for some 20,000 objects.
const FACTS_MAX: usize = 512 << 10;
/// No facts of ours are larger once unpacked.
const UNPACKED_MAX: u64 = 64 << 20;

/// What is told of one object.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    kind: String,
    namespace: String,
    name: String,
    reason: String,
    message: String,
}

/// What a shard's holder tells.
pub(super) struct Page {
    api: Api<ConfigMap>,
    /// Open while the shard's lease is held.
    gate: GateLayer,
    shard: u32,
    facts: BTreeMap<Owner, Fact>,
    network: Vec<u8>,
    written: bool,
}

impl Page {
    pub(super) fn new(client: Client, namespace: &str, gate: GateLayer, shard: u32) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, gate, shard, facts: BTreeMap::new(), network: Vec::new(), written: false }
    }

    /// The networks that these shards have told.
    pub(super) async fn networks(&self, shards: impl Iterator<Item = u32>) -> Vec<Vec<u8>> {
        let names: Vec<String> = shards.map(name).collect();
        let found = join_all(names.iter().map(|name| self.api.get_opt(name))).await;
        let networks = found.into_iter().filter_map(|found| match found {
            Ok(object) => object?.binary_data?.remove(NETWORK),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the network of another shard could not be read");
                None
            }
        });
        networks.map(|ByteString(bytes)| bytes).filter(|bytes| !bytes.is_empty()).collect()
    }

    /// What is told of the shard now; none if nothing is, or if it cannot be read.
    async fn told(&self, name: &str) -> Option<BTreeMap<String, ByteString>> {
        // Writing it once too often is all that an error costs.
        self.api.get_opt(name).await.ok()??.binary_data
    }

    /// Tells the facts, and the network if it is given, unless all that has been told. What fails is told the next time.
    pub(super) async fn tell(&mut self, facts: BTreeMap<Owner, Fact>, network: Option<Vec<u8>>) {
        let name = name(self.shard);
        let before = if self.written { None } else { self.told(&name).await };
        if let Some(ByteString(network)) = before.as_ref().and_then(|before| before.get(NETWORK)) {
            self.network.clone_from(network);
        }
        let network = network.unwrap_or_else(|| self.network.clone());
        if self.written && facts == self.facts && network == self.network {
            return;
        }
        let binary = [(FACTS, pack(&facts)), (NETWORK, network.clone())];
        let binary: BTreeMap<String, ByteString> =
            binary.into_iter().map(|(key, bytes)| (key.to_owned(), ByteString(bytes))).collect();
        // Whoever held the shard before has told the same: then there is nothing to write.
        if before.is_some_and(|before| before == binary) {
            (self.facts, self.network, self.written) = (facts, network, true);
            return;
        }
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {MANAGED_BY.0: MANAGED_BY.1}},
            "binaryData": binary,
        });
        let write = async {
            let params = PatchParams::apply(FIELD_MANAGER).force();
            self.api.patch_metadata(&name, &params, &Patch::Apply(&object)).await?;
            anyhow::Ok(())
        };
        match self.gate.outside("configmaps", write).await {
            Ok(()) => (self.facts, self.network, self.written) = (facts, network, true),
            Err(error) => {
                tracing::warn!(shard = self.shard, error = %chain(error.as_ref()), "what the scorer sees could not be told");
            }
        }
    }
}

/// As few as have room, if not all do: those where something is wrong come first.
fn pack(facts: &BTreeMap<Owner, Fact>) -> Vec<u8> {
    let mut sorted: Vec<(&Owner, &Fact)> = facts.iter().collect();
    sorted.sort_by_key(|(_, fact)| fact.status == Some(true));
    let line = |((kind, namespace, name), fact): (&Owner, &Fact)| Line {
        kind: kind.to_string(),
        namespace: namespace.clone(),
        name: name.clone(),
        reason: fact.reason.to_owned(),
        message: fact.message.clone(),
    };
    let mut lines: Vec<Line> = sorted.into_iter().map(line).collect();
    loop {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let json = serde_json::to_vec(&lines).unwrap_or_default();
        let packed = packed.write_all(&json).and_then(|()| packed.finish()).unwrap_or_default();
        if packed.len() <= FACTS_MAX || lines.is_empty() {
            return packed;
        }
        lines.truncate(lines.len() / 2);
        tracing::warn!(
            left = lines.len(),
            of = facts.len(),
            "more is seen than a ConfigMap has room for; use more shards"
        );
    }
}

/// What is no line of ours is left out.
fn unpack(packed: &[u8]) -> Option<BTreeMap<Owner, Fact>> {
    let mut json = Vec::new();
    GzDecoder::new(packed).take(UNPACKED_MAX).read_to_end(&mut json).ok()?;
    let lines: Vec<Line> = serde_json::from_slice(&json).ok()?;
    let read = |Line { kind, namespace, name, reason, message }| {
        Some(((Kind::parse(&kind)?, namespace, name), Fact::read(&reason, message)?))
    };
    Some(lines.into_iter().filter_map(read).collect())
}

/// Forgets what was heard when nobody listens any more.
struct Listening<'a>(&'a Metrics);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.anomalies().facts().forget_told();
    }
}

/// Listens, until dropped, to what the holders of all shards tell.
pub async fn follow(client: Client, namespace: &str, shards: u32, metrics: &Metrics) {
    let listening = Listening(metrics);
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let of = |shard: u32| {
        let told = watch_object(api.clone(), &name(shard)).default_backoff();
        told.map(move |told| (shard, told)).boxed()
    };
    let mut all = stream::select_all((0..shards).map(of));
    while let Some((shard, told)) = all.next().await {
        match told {
            Ok(object) => {
                let packed = object.and_then(|object| object.binary_data?.remove(FACTS));
                if let Some(facts) = packed.and_then(|ByteString(packed)| unpack(&packed)) {
                    listening.0.anomalies().facts().hear(shard, facts);
                }
            }
            Err(error) => {
                tracing::warn!(shard, error = %chain(&error), "what the scorer sees could not be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use plimsoll_api::conditions as c;

    use super::*;

    fn fact(reason: &str, message: String) -> Fact {
        Fact::read(reason, message).unwrap()
    }

    #[test]
    fn what_is_told_is_what_was_seen() {
        let owner = |name: &str| (Kind::Slo, "shop".to_owned(), name.to_owned());
        let facts = BTreeMap::from([
            (owner("a"), fact(c::REASON_SCORING, "total: 1 series scored".to_owned())),
            (owner("b"), fact(c::REASON_QUERY_FAILED, "total: „no“\n".to_owned())),
        ]);
        assert_eq!(unpack(&pack(&facts)), Some(facts));
        assert_eq!(unpack(&pack(&BTreeMap::new())), Some(BTreeMap::new()));
        assert_eq!(unpack(b"something"), None);
    }

    #[tokio::test]
    async fn what_was_told_before_a_restart_is_not_told_again() {
        let api = crate::testing::FakeApi::default();
        let page = || Page::new(api.client(), "plimsoll-system", GateLayer::open(), 0);
        let facts = |message: &str| {
            BTreeMap::from([(
                (Kind::Slo, "shop".to_owned(), "a".to_owned()),
                fact(c::REASON_SCORING, message.to_owned()),
            )])
        };
        page().tell(facts("1 series"), Some(vec![1, 2, 3])).await;
        assert_eq!(api.writes().len(), 1);
        let mut restarted = page();
        restarted.tell(facts("1 series"), None).await;
        assert_eq!(api.writes().len(), 1, "nothing is new");
        restarted.tell(facts("2 series"), None).await;
        assert_eq!(api.writes().len(), 2);
        assert_eq!(page().networks(0..1).await, [vec![1, 2, 3]], "the network stays until there is another");
    }

    #[test]
    fn what_is_wrong_is_told_first_where_there_is_no_room_for_all() {
        let mut random = plimsoll_anomaly::lstm::Random(1);
        let mut noise = || (0..30).map(|_| format!("{:x}", random.bits())).collect::<String>();
        let facts: BTreeMap<Owner, Fact> = (0..3000)
            .map(|n| {
                let reason = if n % 3 == 0 { c::REASON_QUERY_FAILED } else { c::REASON_SCORING };
                ((Kind::AlertRule, "shop".to_owned(), format!("rule-{n}")), fact(reason, noise()))
            })
            .collect();
        let packed = pack(&facts);
        assert!(packed.len() <= FACTS_MAX);
        let told = unpack(&packed).unwrap();
        assert!(told.len() < facts.len() && told.len() >= 1000);
        let bad = |facts: &BTreeMap<Owner, Fact>| facts.values().filter(|fact| fact.status == Some(false)).count();
        assert_eq!(bad(&told), bad(&facts));
    }
}
