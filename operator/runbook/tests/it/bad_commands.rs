//! Each image and command that must be refused, with the very words of the refusal.

use serde_json::{Value, json};

use crate::{
    IMAGE,
    bad_inputs::{check, step},
    problems,
};

#[test]
fn images_and_commands() {
    let debug = |image: &str, command: Value| {
        step(json!({"name": "a", "debugContainer": {"pod": "pod", "image": image, "command": command}}))
    };
    check(&[
        (
            "mutable tag",
            debug("registry.example/debug:latest", json!(["ps"])),
            &[
                "error: spec.steps[0].debugContainer.image: image is not named by its digest (its tag can be moved to another image); add the digest: registry.example/debug@sha256:...",
            ],
        ),
        (
            "a part of an entry",
            debug(IMAGE, json!(["ps", "--pod=$(pod)"])),
            &[
                "error: spec.steps[0].debugContainer.command[1]: $(pod) is only a part of this entry (a value stays what it is only as an entry of its own); write $(pod) as its own entry",
            ],
        ),
        (
            "the program itself",
            debug(IMAGE, json!(["$(pod)"])),
            &["error: spec.steps[0].debugContainer.command[0]: a parameter cannot be the program; name the program"],
        ),
        (
            "a shell",
            debug(IMAGE, json!(["/bin/sh", "-ec", "echo", "$(pod)"])),
            &[
                "error: spec.steps[0].debugContainer.command[0]: a parameter never reaches a shell (sh would read it as a script); name the program itself, each argument as an entry of its own",
            ],
        ),
    ]);
    assert_eq!(problems(&debug(IMAGE, json!(["sh", "-c", "ps aux"]))), [""; 0]);
    let told = |command: Value| problems(&debug(IMAGE, command)).join("\n");
    // Whatever starts the shell, and however an interpreter is called.
    for (command, wanted) in [
        (json!(["env", "A=b", "sh", "-c", "$(pod)"]), (2, "sh")),
        (json!(["timeout", "30", "/bin/bash", "-c", "$(pod)"]), (2, "bash")),
        (json!(["busybox", "timeout", "30", "ash", "-c", "echo $0", "$(pod)"]), (3, "ash")),
        (json!(["find", "/", "-exec", "sh", "-c", "echo $0", "$(pod)", ";"]), (3, "sh")),
        (json!(["pwsh", "-Command", "$(pod)"]), (0, "pwsh")),
    ] {
        let (i, shell) = wanted;
        let wanted = format!("command[{i}]: a parameter never reaches a shell ({shell} would read it as a script)");
        let told = told(command);
        assert!(told.contains(&wanted) && !told.contains('\n'), "{told}");
    }
    for (command, wanted) in [
        (json!(["python3", "-c", "$(pod)"]), (2, "python3")),
        (json!(["/usr/bin/python3.12", "-W", "ignore", "-Ic", "$(pod)"]), (4, "python3.12")),
        (json!(["nice", "perl", "-lne", "$(pod)"]), (3, "perl")),
        (json!(["node", "--eval", "$(pod)"]), (2, "node")),
        (json!(["su", "postgres", "-c", "$(pod)"]), (3, "su")),
        (json!(["psql", "-h", "db", "-c", "$(pod)"]), (4, "psql")),
    ] {
        let (i, program) = wanted;
        let wanted = format!(
            "error: spec.steps[0].debugContainer.command[{i}]: a parameter cannot be a script ({program} would run it); \
             write the script itself, and the parameter as an entry after it"
        );
        assert_eq!(told(command), wanted);
    }
    // A number, a pattern, or an option of the script.
    for command in [
        json!(["ping", "-c", "$(pod)"]),
        json!(["busybox", "ping", "-c", "$(pod)", "db"]),
        json!(["grep", "-e", "$(pod)", "/etc/hosts"]),
        json!(["timeout", "$(pod)", "sh", "-c", "ps aux"]),
        json!(["python3", "-c", "import sys; print(sys.argv[1])", "$(pod)"]),
        json!(["python3", "/opt/tool.py", "-c", "$(pod)"]),
        json!(["python3", "-m", "tool", "-c", "$(pod)"]),
    ] {
        assert_eq!(told(command), "");
    }
}
