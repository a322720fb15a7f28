//! Puts into the program what only the build knows: the versions of the engines from the lockfile, the compiler and the commit.

use std::path::Path;
use std::process::Command;

fn main() {
    let manifest_dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let lockfile = Path::new(&manifest_dir).join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lockfile.display());
    // A file that is not there would count as changed each time. Where these lie differs from a clone to a worktree of it.
    for file in ["HEAD", "logs/HEAD"] {
        let path = output("git", &["-C", &manifest_dir, "rev-parse", "--git-path", file]);
        let path = path.map(|path| Path::new(&manifest_dir).join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let lock = std::fs::read_to_string(&lockfile).unwrap_or_default();
    let packages = [
        "fjall",
        "heed",
        "lmdb-master-sys",
        "redb",
        "rocksdb",
        "librocksdb-sys",
        "rusqlite",
        "sled",
    ];
    for package in packages {
        let version = version_in(&lock, package).unwrap_or_else(|| "unknown".into());
        let variable = package.to_uppercase().replace('-', "_");
        println!("cargo::rustc-env=KVDYNO_VERSION_{variable}={version}");
        // What stands behind a '+' is the version of the C or C++ library inside.
        let inside = version.split_once('+').map_or("unknown", |(_, inside)| inside);
        println!("cargo::rustc-env=KVDYNO_VERSION_INSIDE_{variable}={inside}");
    }
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    println!(
        "cargo::rustc-env=KVDYNO_COMPILER={}",
        output(&rustc, &["--version"]).unwrap_or_default()
    );
    println!("cargo::rustc-env=KVDYNO_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
    let commit = output("git", &["-C", &manifest_dir, "rev-parse", "--short=12", "HEAD"]);
    println!("cargo::rustc-env=KVDYNO_COMMIT={}", commit.unwrap_or_default());
}

/// The version of a package in a lockfile: the line after its name.
fn version_in(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}

/// What a command prints, if it can be run and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
