//! What is said of the parts of a composite, by what Prometheus, the files and the cluster know of them.
#![allow(clippy::unwrap_used, clippy::panic)]
use serde_json::json;

use super::{
    tests::{explained, knows, of, slo},
    *,
};
use crate::{prometheus::http_client, testing::FakeApi};

#[tokio::test]
async fn parts_of_a_composite_are_looked_for() {
    let weighted = of(json!({"composite": {"weighted": [{"slo": "pay"}, {"slo": "pya", "weight": 3}]}}));
    let worst = of(json!({"composite": {"worstOf": ["pya"]}}));
    let ids = [("/api/v1/label/slo_id/values", json!(["shop/pay", "shop/cart", "other/pya"]))];
    let unknown = [("slo_id=\"shop/pya\"", "")];
    for (model, answers, headline, line) in [
        (
            &weighted,
            &unknown[..],
            "cart counts too little as bad: no SLO shop/pya records anything, so 3 in 4 of its weight counts as good.\n",
            "  ✓ part pay has data\n  ✗ part pya: no SLO shop/pya records anything; until one does, its weight of 3 in 4 counts as good; did you mean pay?\n",
        ),
        (&worst, &unknown, "cart has no data: no SLO shop/pya records anything.\n", "did you mean pay?\n"),
        // Its rules are evaluated, and there is nothing to count.
        (
            &worst,
            &[("events:rate5m{slo_id=\"shop/pya\"}", "")],
            "cart has no data: none of its parts has any now.\n",
            "  · part pya has no data now",
        ),
        (&weighted, &[], "cart could not be examined wholly", "  ✓ part pay has data\n  ✓ part pya has data\n"),
    ] {
        let server = knows(answers, &ids).await;
        let text = explained(&server, model).await;
        assert!(text.starts_with(headline), "{text}");
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

/// The groups of these SLOs as a Prometheus tells of them that has evaluated them at this time.
fn groups(models: &[(&AnyModel, &str)]) -> serde_json::Value {
    let of = |(model, last): &(&AnyModel, &str)| -> Vec<serde_json::Value> {
        let rules = |group: &plimsoll_slo::Group| -> Vec<serde_json::Value> {
            let name = |rule: &plimsoll_slo::Rule| rule.record.clone().or_else(|| rule.alert.clone());
            group.rules.iter().map(|rule| json!({"name": name(rule), "query": rule.expr, "health": "ok"})).collect()
        };
        let told = |group: &plimsoll_slo::Group| json!({"name": group.name, "rules": rules(group), "interval": 60, "lastEvaluation": last});
        model.render_for(plimsoll_slo::Dialect::Prometheus).groups.iter().map(told).collect()
    };
    json!({"groups": models.iter().flat_map(of).collect::<Vec<_>>()})
}

/// In its first minute a part is loaded and has recorded nothing, and one that is like it has.
#[tokio::test]
async fn a_part_that_is_there_is_not_missed() {
    const NEVER: &str = "0001-01-01T00:00:00Z";
    let (whole, pay) = (
        of(json!({"composite": {"weighted": [{"slo": "pay"}, {"slo": "old", "weight": 3}]}})),
        slo("pay", "requests_total"),
    );
    let now = jiff::Timestamp::now().to_string();
    let ids = json!(["shop/pays", "shop/old", "shop/cart"]);
    let unheard = [("slo_id=\"shop/pay\"", "")];
    for (loaded, known, headline, line) in [
        (
            groups(&[(&whole, &now), (&pay, NEVER)]),
            &[][..],
            "cart counts too little as bad yet: until Prometheus evaluates the rules of shop/pay, 1 in 4 of its weight counts as good.\n",
            "  · part pay: its rules are loaded and not evaluated yet; until they are, its weight of 1 in 4 counts as good\n",
        ),
        // Both were loaded just now.
        (
            groups(&[(&whole, NEVER), (&pay, NEVER)]),
            &[],
            "cart has no data yet: Prometheus has not evaluated its rules so far.\n",
            "  · part pay: its rules are loaded and not evaluated yet;",
        ),
        // There was nothing to count when they were.
        (
            groups(&[(&whole, &now), (&pay, &now)]),
            &[],
            "cart is not known yet: the burn",
            "  · part pay has no data now, which counts as good;",
        ),
        (
            groups(&[(&whole, &now)]),
            &[slo("pay", "requests_total")],
            "cart counts too little as bad: Prometheus has not loaded the rules of shop/pay, so 1 in 4 of its weight counts as good.\n",
            "  ✗ part pay: Prometheus has not loaded its rules; until it has, its weight of 1 in 4 counts as good; plimsoll explain says why\n",
        ),
        (
            groups(&[(&whole, &now)]),
            &[slo("other", "requests_total")],
            "cart counts too little as bad: no SLO shop/pay records anything, so 1 in 4 of its weight counts as good.\n",
            "did you mean pays?\n",
        ),
    ] {
        let server = knows(&unheard, &[("/api/v1/label/slo_id/values", ids.clone()), ("/api/v1/rules", loaded)]).await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
        let mut explainer = Explainer::new(Some(prometheus));
        explainer.knows(known);
        let text = explainer.model(&whole).await.text;
        assert!(text.starts_with(headline), "{text}");
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

/// What Prometheus knows nothing of is looked for in the cluster, and what is like it as well.
#[tokio::test]
async fn a_part_that_is_in_the_cluster_is_not_missed() {
    let sli = json!({"composite": {"worstOf": ["pay"]}});
    let AnyModel::Slo(model) = of(sli.clone()) else { panic!("{sli}") };
    let loaded = groups(&[(&AnyModel::Slo(model), &jiff::Timestamp::now().to_string())]);
    let whole = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"objective": "99.9", "sli": sli}});
    for (name, headline, line) in [
        (
            "pay",
            "cart has no data: Prometheus has not loaded the rules of shop/pay.\n",
            "  ✗ part pay: Prometheus has not loaded its rules; plimsoll explain says why\n",
        ),
        (
            "pays",
            "cart has no data: no SLO shop/pay records anything.\n",
            "  ✗ part pay: no SLO shop/pay records anything; did you mean pays?\n",
        ),
    ] {
        let api = FakeApi::default();
        let part = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"objective": "99.9", "sli": {"up": {"series": "up"}}}});
        api.put(&format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/slos/{name}"), part);
        let server = knows(&[("slo_id=\"shop/pay\"", "")], &[("/api/v1/rules", loaded.clone())]).await;
        let prometheus = Prometheus::new(http_client().unwrap(), &server.uri()).unwrap().with_retries(0);
        let object = Object::Slo(Box::new(serde_json::from_value(whole.clone()).unwrap()));
        let text = Explainer::new(Some(prometheus)).stored(&object, &api.client()).await.text;
        assert!(text.starts_with(headline), "{text}");
        assert!(text.contains(line), "{line} in\n{text}");
    }
}
