//! The servers' programs: found, or built from source into a cache outside the checkout.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::recipe::{Component, Recipe};

/// Names a folder that holds every program, and so replaces the builds.
pub const FOLDER_VARIABLE: &str = "TESTBED_BIN";

/// The folder of each component that was asked for.
#[derive(Clone, Debug, Default)]
pub struct Bin {
    folders: BTreeMap<Component, PathBuf>,
}

impl Bin {
    /// The folder that holds a component's programs.
    pub fn folder(&self, component: Component) -> Result<&Path> {
        let folder = self.folders.get(&component);
        let folder = folder.with_context(|| format!("{} was not asked for", component.recipe().name))?;
        Ok(folder)
    }

    /// A component's program (or other file) by name.
    pub fn path(&self, component: Component, name: &str) -> Result<PathBuf> {
        Ok(self.folder(component)?.join(name))
    }
}

/// A program that is not there and cannot be built here.
#[derive(Clone, Debug)]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// How to get it.
    pub how: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.what, self.how)
    }
}

/// What came of looking for the programs.
#[derive(Clone, Debug)]
pub enum Binaries {
    /// All of them are here.
    Ready(Bin),
    /// One of them cannot be had; tests that need it are skipped by name.
    Missing(Missing),
}

impl Binaries {
    /// The programs, where doing without is no option.
    pub fn required(self) -> Result<Bin> {
        match self {
            Self::Ready(bin) => Ok(bin),
            Self::Missing(missing) => bail!("{missing}"),
        }
    }
}

/// Finds or builds the programs of every component.
pub fn ensure_binaries() -> Result<Binaries> {
    ensure_components(Component::ALL)
}

/// Finds or builds the programs of some components, one after another, with a line on standard error for each build.
///
/// An error is a build that failed; what cannot be tried at all is [`Binaries::Missing`].
pub fn ensure_components(components: &[Component]) -> Result<Binaries> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return Ok(in_given_folder(Path::new(&folder), components));
    }
    let cache = cache_folder()?.join("testbed");
    let mut folders = BTreeMap::new();
    for &component in components {
        match ensure_component(component.recipe(), &cache)? {
            Ok(folder) => folders.insert(component, folder),
            Err(missing) => return Ok(Binaries::Missing(missing)),
        };
    }
    Ok(Binaries::Ready(Bin { folders }))
}

/// The project's cache folder, outside the checkout so that a fresh clone starts warm.
pub fn cache_folder() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(base.join("plimsoll"))
}

/// Whether the machine has a program.
#[must_use]
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn in_given_folder(folder: &Path, components: &[Component]) -> Binaries {
    for component in components {
        if let Some(absent) = expected(component.recipe()).into_iter().find(|name| !folder.join(name).exists()) {
            return Binaries::Missing(Missing {
                what: format!("{absent} in {}", folder.display()),
                how: format!("put it there, or unset {FOLDER_VARIABLE} to have it built"),
            });
        }
    }
    Binaries::Ready(Bin { folders: components.iter().map(|component| (*component, folder.to_owned())).collect() })
}

/// Everything that a component's folder has to hold.
fn expected(recipe: &Recipe) -> Vec<&'static str> {
    let programs =
        recipe.programs.iter().flat_map(|program| std::iter::once(program.output).chain(program.links.iter().copied()));
    programs.chain(recipe.files.iter().map(|files| files.to)).collect()
}

fn ensure_component(recipe: &Recipe, cache: &Path) -> Result<Result<PathBuf, Missing>> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(recipe.name);
    let hash = recipe_hash(recipe, &module)?;
    let start_of_name = format!("{}-{hash}", recipe.name);
    let go = match go_version(&module) {
        Ok(version) => version,
        // A machine without Go can still have what another run, or a person, has put into the cache.
        Err(missing) => return Ok(built_by_any_go(cache, &start_of_name, recipe)?.ok_or(missing)),
    };
    let folder = cache.join(format!("{start_of_name}-{go}"));
    if !folder.exists() {
        fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
        // Two test runs at once would otherwise each take ten minutes for the same thing. The lock goes with the process.
        let lock = File::create(cache.join("lock")).context("creating the build lock")?;
        lock.lock().context("waiting for another build")?;
        if !folder.exists() {
            build(recipe, &module, &folder)?;
        }
    }
    Ok(Ok(folder))
}

fn built_by_any_go(cache: &Path, start_of_name: &str, recipe: &Recipe) -> Result<Option<PathBuf>> {
    if !cache.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let named =
            entry.file_name().to_string_lossy().strip_prefix(start_of_name).is_some_and(|rest| rest.starts_with("-go"));
        if named && expected(recipe).iter().all(|name| entry.path().join(name).exists()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Changes with everything that can change the result, so that a stale program is never used.
fn recipe_hash(recipe: &Recipe, module: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(name);
        if path.exists() {
            hasher.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
        } else {
            ensure!(name == "main.go", "{} is not there: the test was built from another checkout", path.display());
        }
        hasher.update([0]);
    }
    for program in recipe.programs.iter().filter(|program| program.package.starts_with("./")) {
        let folder = module.join(program.package);
        let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            hasher.update(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
            hasher.update([0]);
        }
    }
    hasher.update(format!("{recipe:?}"));
    Ok(hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

fn go(module: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(module).env("CGO_ENABLED", "0").env("GOWORK", "off");
    if std::env::var_os("GOTOOLCHAIN").is_none() {
        // What is on the machine, rather than a download in the middle of a test.
        command.env("GOTOOLCHAIN", "local");
    }
    command
}

fn go_version(module: &Path) -> Result<String, Missing> {
    let how =
        "install Go as new as the `go` line of tests/testbed/modules/*/go.mod, then run `cargo xtask testbed build`"
            .to_owned();
    // Run in the module: there, a Go that is too old for it says so.
    match go(module).args(["env", "GOVERSION"]).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => {
            Err(Missing { what: format!("a newer Go ({})", String::from_utf8_lossy(&output.stderr).trim()), how })
        }
        Err(error) => Err(Missing { what: format!("Go ({error})"), how }),
    }
}

/// Builds into a name of its own and renames, so that an interrupted build leaves nothing that looks finished.
fn build(recipe: &Recipe, module: &Path, folder: &Path) -> Result<()> {
    let started = Instant::now();
    eprintln!("testbed: building {} (once; kept in {})", recipe.name, folder.display());
    let start_of_name = format!("unfinished-{}-", recipe.name);
    remove_unfinished(folder.parent().context("the cache is a folder")?, &start_of_name)?;
    // A name of its own: the Go of a build that was killed may still be writing into the other.
    let unfinished = folder.with_file_name(format!("{start_of_name}{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    build_into(recipe, module, &unfinished).with_context(|| format!("building {}", recipe.name))?;
    fs::rename(&unfinished, folder)?;
    eprintln!("testbed: built {} in {} s", recipe.name, started.elapsed().as_secs());
    Ok(())
}

/// Removes what interrupted builds have left. The lock is held, so none of it is of a build that goes on.
fn remove_unfinished(cache: &Path, start_of_name: &str) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start_of_name) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

fn build_into(recipe: &Recipe, module: &Path, folder: &Path) -> Result<()> {
    for program in recipe.programs {
        let status = go(module)
            .args(["build", "-trimpath", "-buildvcs=false", "-tags", recipe.tags])
            .args(["-ldflags", &format!("-s -w {}", recipe.ldflags), "-o"])
            .arg(folder.join(program.output))
            .arg(program.package)
            .status()
            .context("running go build")?;
        ensure!(status.success(), "go build {}: {status}", program.package);
        for link in program.links {
            std::os::unix::fs::symlink(program.output, folder.join(link))?;
        }
    }
    if let Some(files) = &recipe.files {
        let output = go(module).args(["list", "-m", "-f", "{{.Dir}}", files.module]).output()?;
        ensure!(output.status.success(), "go list: {}", String::from_utf8_lossy(&output.stderr));
        let from = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(files.from);
        let to = folder.join(files.to);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))? {
            let entry = entry?;
            // Read and written rather than copied: files of the module cache are read-only, and copies would be too.
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
