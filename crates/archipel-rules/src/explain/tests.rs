use crate::testing::{filter, request_of_documentation as request};

#[test]
fn every_part_is_told() {
    let text = r#"ssl and (http.host eq "a.com" or
        not any(lower(http.request.headers.names[*])[*] contains "x-")) and ip.src in {10.0.0.0/8}"#;
    let explained = filter(text).explain_text(&request(), text);
    let expected = r#"false   ssl and (http.host eq "a.com" or not any(lower(http.request.headers.names[*])[*] contains "x-")) and ip.src in {10.0.0.0/8}
  true   ssl
  false   http.host eq "a.com" or not any(lower(http.request.headers.names[*])[*] contains "x-")
    false   http.host eq "a.com"
      "www.Example.com"   http.host
    false   not any(lower(http.request.headers.names[*])[*] contains "x-")
      true   any(lower(http.request.headers.names[*])[*] contains "x-")
        [false, true, true, false, true]   lower(http.request.headers.names[*])[*] contains "x-"
          ["accept", "x-multi", "x-multi", "client_id", "x-categories"]   lower(http.request.headers.names[*])[*]
            ["Accept", "X-Multi", "X-Multi", "client_id", "x-categories"]   http.request.headers.names[*]
  false   ip.src in {10.0.0.0/8}
    203.0.113.7   ip.src
"#;
    assert_eq!(explained, expected);
}

#[test]
fn arguments_are_told() {
    let text = r#"starts_with(http.request.uri.path, "/b") xor not len(http.request.uri.args["none"]) ge 0"#;
    let explained = filter(text).explain_text(&request(), text);
    let expected = r#"true   starts_with(http.request.uri.path, "/b") xor not len(http.request.uri.args["none"]) ge 0
  false   starts_with(http.request.uri.path, "/b")
    "/articles/2008/index.html"   http.request.uri.path
  true   not len(http.request.uri.args["none"]) ge 0
    false   len(http.request.uri.args["none"]) ge 0
      nil   len(http.request.uri.args["none"])
        nil   http.request.uri.args["none"]
"#;
    assert_eq!(explained, expected);
}
