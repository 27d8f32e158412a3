#![allow(missing_docs, clippy::all, clippy::pedantic, clippy::unwrap_used, clippy::print_stdout)]
fn main() {
    let specs: serde_json::Value = serde_json::from_reader(std::io::stdin()).unwrap();
    let mut groups = vec![];
    for s in specs.as_array().unwrap() {
        let slo: plimsoll_api::Slo = serde_json::from_value(s.clone()).unwrap();
        match plimsoll_slo::validate(&slo) {
            Ok(v) => {
                for w in v.warnings {
                    eprintln!("warning {w}")
                }
                groups.extend(plimsoll_slo::render(&v.model).groups)
            }
            Err(e) => {
                for p in e {
                    eprintln!("error {p}")
                }
            }
        }
    }
    println!("{}", serde_json::to_string_pretty(&serde_json::json!({"groups": groups})).unwrap());
}
