//! Expressions that can be read and are hardly meant.

use serde_json::json;

use crate::bad_inputs::check;

#[test]
fn matchers_that_are_meant_otherwise() {
    let events = |bad: &str, total: &str| json!({"sli": {"events": {"bad": bad, "total": total}}});
    check(&[
        (
            "lists with commas",
            events("a{code=~\"500, 502\",route!~\"/health,x\"}", "t{code!=\"404,5..\",method=~\"GET,POST\",b=\"c,d\"}"),
            &[
                "warning: spec.sli.events.bad: code is compared with a list letter by letter (no code is 500, 502 itself); write code=~\"500|502\"",
                "warning: spec.sli.events.total: code is compared with a list letter by letter (no code is 404,5.. itself); write code!~\"404|5..\"",
                "warning: spec.sli.events.total: method is compared with a list letter by letter (no method is GET,POST itself); write method=~\"GET|POST\"",
            ],
        ),
        (
            "commas that are no list",
            events("a{code=~\"5[0-9]{1,2}\",dn=~\"cn=x,ou=.*\",b=~\"Smith, .*\"}", "t{code=~\"|,500\",c=~\"5,\"}"),
            &[],
        ),
        (
            "classes by a name that codes do not have",
            events("a{code=\"5xx\"}", "t{status!=\"4XX\"}"),
            &[
                "warning: spec.sli.events.bad: code is compared with a class of codes letter by letter (only 5xx itself fits); write code=~\"5..\", or code=~\"5xx\" where that is its name",
                "warning: spec.sli.events.total: status is compared with a class of codes letter by letter (only 4XX itself fits); write status!~\"4..\", or status!~\"4XX\" where that is its name",
            ],
        ),
        (
            "classes by their names",
            events(
                "haproxy_backend_http_responses_total{code=\"5xx\"}",
                "t{code=~\"5xx\",size!=\"3xx\",status=\"xx\"}",
            ),
            &[],
        ),
    ]);
}
