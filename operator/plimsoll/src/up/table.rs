//! The objects as they are served: each in its last good version, whatever its file says now. Pure.

use std::{collections::BTreeMap, fmt, sync::Arc};

use plimsoll_api::AnyKind;
use plimsoll_slo::SloId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cli::check::{Checked, Found};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: AnyKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    fn of(found: &Found) -> Self {
        let SloId { namespace, name } = found.id.clone();
        Self { kind: found.kind, namespace, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// An object and what its file says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The last good version, with `uid` and `generation`; none when there was none yet.
    pub object: Option<Value>,
    /// The file.
    pub file: Arc<str>,
    /// Why the file does not have a good version now.
    pub broken: Option<String>,
}

/// What differs from before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// New, or with another content.
    pub edited: Vec<Key>,
    /// As they were, and their files are not good any more, or for another reason.
    pub broken: Vec<Key>,
    /// Good again, with the content of before.
    pub mended: Vec<Key>,
    /// Gone, with their last good versions.
    pub removed: Vec<(Key, Option<Value>)>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    entries: BTreeMap<Key, Entry>,
}

/// An entry as it is stored.
#[derive(Deserialize, Serialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    file: String,
    object: Value,
}

impl Table {
    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> {
        self.entries.iter()
    }

    /// One of them.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The last good versions as text; what was never good is not in it.
    ///
    /// # Errors
    /// None that can occur: every object can be written as JSON.
    pub fn text(&self) -> serde_json::Result<String> {
        let rows = self.entries.iter().filter_map(|(key, entry)| {
            let object = entry.object.clone()?;
            let Key { kind, namespace, name } = key.clone();
            Some(Row { kind: kind.name().to_owned(), namespace, name, file: entry.file.to_string(), object })
        });
        serde_json::to_string(&rows.collect::<Vec<_>>())
    }

    /// From [`Self::text`].
    ///
    /// # Errors
    /// When it is something else.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let rows: Vec<Row> = serde_json::from_str(text)?;
        let entries = rows.into_iter().filter_map(|row| {
            let Row { kind, namespace, name, file, object } = row;
            let key = Key { kind: AnyKind::parse(&kind)?, namespace, name };
            Some((key, Entry { object: Some(object), file: file.into(), broken: None }))
        });
        Ok(Self { entries: entries.collect() })
    }

    /// Takes what was read. As long as a mistake may hide an object, none is taken for removed: those of the files
    /// with the mistakes are broken, the others go on as they were.
    pub fn advance(&mut self, checked: &mut Checked) -> Changes {
        let mut changes = Changes::default();
        let mut old = std::mem::take(&mut self.entries);
        for found in std::mem::take(&mut checked.found) {
            let key = Key::of(&found);
            let before = old.remove(&key);
            let entry = changes.judge(&key, before, found);
            self.entries.insert(key, entry);
        }
        let in_doubt = checked.unread || !checked.hiding.is_empty();
        for (key, mut entry) in old {
            if !in_doubt {
                changes.removed.push((key, entry.object));
                continue;
            }
            if let Some(wrong) = checked.hiding.get(&entry.file)
                && entry.broken.as_ref() != Some(wrong)
            {
                entry.broken = Some(wrong.clone());
                changes.broken.push(key.clone());
            }
            self.entries.insert(key, entry);
        }
        changes
    }
}

impl Changes {
    /// What becomes of an object that was found.
    fn judge(&mut self, key: &Key, before: Option<Entry>, found: Found) -> Entry {
        let Found { kind: _, id: _, file, object } = found;
        let was_broken = before.as_ref().and_then(|entry| entry.broken.clone());
        let known = before.and_then(|entry| entry.object);
        match object {
            Ok(object) => {
                let object = numbered(key, object, known.as_ref());
                if known.as_ref() != Some(&object) {
                    self.edited.push(key.clone());
                } else if was_broken.is_some() {
                    self.mended.push(key.clone());
                }
                Entry { object: Some(object), file, broken: None }
            }
            Err(why) => {
                if was_broken.as_ref() != Some(&why) {
                    self.broken.push(key.clone());
                }
                Entry { object: known, file, broken: Some(why) }
            }
        }
    }
}

/// What people write of an object, with what an API server would add: a uid, and a generation that counts its specs.
/// The uid is the same whenever the same name comes again, so that a restart starts nothing twice.
fn numbered(key: &Key, mut object: Value, known: Option<&Value>) -> Value {
    let spec = object.get_mut("spec").map(Value::take).unwrap_or_default();
    let generation = known.and_then(|known| known.pointer("/metadata/generation")?.as_i64()).unwrap_or(0);
    let same = known.is_some_and(|known| known.get("spec") == Some(&spec));
    let field = |name: &str| object.pointer(&format!("/metadata/{name}")).cloned();
    let mut metadata = json!({
        "name": key.name,
        "namespace": key.namespace,
        "uid": uid(key),
        "generation": if same { generation } else { generation + 1 },
    });
    for name in ["labels", "annotations"] {
        if let (Some(value), Some(map)) = (field(name), metadata.as_object_mut()) {
            map.insert(name.to_owned(), value);
        }
    }
    json!({"apiVersion": plimsoll_api::API_VERSION, "kind": key.kind.name(), "metadata": metadata, "spec": spec})
}

/// A hash of kind, namespace and name in the form of a UUID.
fn uid(key: &Key) -> String {
    let hash = Sha256::digest(format!("{}/{}/{}", key.kind.name(), key.namespace, key.name));
    let mut text = String::new();
    for (i, byte) in hash.iter().take(16).enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use plimsoll_api::Kind;

    use super::*;
    use crate::cli::check;

    const GOOD: &str = "apiVersion: plimsoll.dev/v1alpha1\nkind: SLO\nmetadata: {name: a}\nspec:\n  objective: \"99\"\n  sli: {up: {series: up}}\n";

    struct Tree(tempfile::TempDir, Table);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap(), Table::default())
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.path().join(name), text).unwrap();
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.0.path().join(name)).unwrap();
        }

        fn look(&mut self) -> Changes {
            self.1.advance(&mut check::objects(&[self.0.path().to_owned()], "shop", None))
        }

        fn a(&self) -> &Entry {
            self.1.get(&a()).unwrap()
        }

        fn objective(&self) -> &str {
            self.a().object.as_ref().unwrap().pointer("/spec/objective").unwrap().as_str().unwrap()
        }
    }

    fn a() -> Key {
        Key { kind: AnyKind::Rules(Kind::Slo), namespace: "shop".to_owned(), name: "a".to_owned() }
    }

    #[test]
    fn an_edit_counts_and_the_same_again_is_no_change() {
        let mut tree = Tree::new();
        tree.write("a.yaml", GOOD);
        assert_eq!(tree.look().edited, [a()]);
        assert!(tree.look().is_empty());
        let number = |tree: &Tree| tree.a().object.as_ref().unwrap().pointer("/metadata/generation").unwrap().as_i64();
        assert_eq!(number(&tree), Some(1));
        tree.write("a.yaml", &GOOD.replace("99", "99.5"));
        assert_eq!(tree.look().edited, [a()]);
        assert_eq!((number(&tree), tree.objective()), (Some(2), "99.5"));
        // A label is an edit that changes no spec.
        tree.write("a.yaml", &GOOD.replace("99", "99.5").replace("name: a", "name: a, labels: {team: x}"));
        assert_eq!(tree.look().edited, [a()]);
        assert_eq!(number(&tree), Some(2));
        // It goes on from what is stored: a restart changes nothing.
        tree.1 = Table::read(&tree.1.text().unwrap()).unwrap();
        assert!(tree.look().is_empty());
    }

    #[test]
    fn what_becomes_invalid_goes_on_as_it_was() {
        let mut tree = Tree::new();
        tree.write("a.yaml", GOOD);
        tree.look();
        for (broken, said) in [
            (GOOD.replace("\"99\"", "\"101\""), "a.yaml:5: spec.objective: "),
            (GOOD.replace("objective", "objektive"), "a.yaml:5: "),
            (GOOD.replace("sli:", "sli: ["), "a.yaml:"),
        ] {
            tree.write("a.yaml", &broken);
            assert_eq!(tree.look().broken, [a()], "{broken}");
            assert_eq!(tree.objective(), "99");
            let why = tree.a().broken.clone().unwrap();
            assert!(why.contains(said), "{why}");
            assert!(tree.look().is_empty(), "it is told once");
        }
        // The reason outlives no restart, the object does.
        tree.1 = Table::read(&tree.1.text().unwrap()).unwrap();
        assert_eq!(tree.look().broken, [a()]);
        tree.write("a.yaml", GOOD);
        assert_eq!(tree.look(), Changes { mended: vec![a()], ..Changes::default() });
    }

    #[test]
    fn nothing_is_taken_for_removed_while_a_mistake_may_hide_it() {
        let mut tree = Tree::new();
        tree.write("a.yaml", GOOD);
        tree.write("b.yaml", &GOOD.replace("name: a", "name: b"));
        tree.look();
        // It may have moved into the file that cannot be read.
        tree.remove("a.yaml");
        tree.write("b.yaml", "kind: [");
        let changes = tree.look();
        assert!(changes.removed.is_empty() && changes.broken.len() == 1, "{changes:?}");
        assert_eq!(tree.a().broken, None);
        tree.remove("b.yaml");
        let removed: Vec<Key> = tree.look().removed.into_iter().map(|(key, _)| key).collect();
        assert_eq!(removed, [a(), Key { name: "b".to_owned(), ..a() }]);
        assert_eq!(tree.1.iter().count(), 0);
    }

    #[test]
    fn a_directory_that_is_away_removes_nothing() {
        let mut tree = Tree::new();
        tree.write("a.yaml", GOOD);
        tree.look();
        let away = tree.0.path().join("away");
        let changes = tree.1.advance(&mut check::objects(&[away], "shop", None));
        assert!(changes.is_empty() && tree.a().object.is_some());
    }

    #[test]
    fn what_was_never_good_is_there_with_its_reason() {
        let mut tree = Tree::new();
        tree.write("a.yaml", &GOOD.replace("\"99\"", "\"101\""));
        assert_eq!(tree.look().broken, [a()]);
        assert!(tree.a().object.is_none() && tree.a().broken.is_some());
        assert_eq!(tree.1.text().unwrap(), "[]");
    }
}
