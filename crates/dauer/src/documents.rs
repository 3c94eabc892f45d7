//! Files of definitions and of jobs: TOML, YAML or JSON, one or several in a file.

use crate::failure::Failure;
use crate::wishes;
use serde_json::Value;

/// What is in a file; `-` is standard input, whose form is guessed.
pub(crate) fn read(file: &str) -> Result<Vec<Value>, Failure> {
    let text = wishes::read(file)?;
    let extension = file.rsplit_once('.').map(|(_, extension)| extension);
    let parsed = match extension {
        Some("json" | "jsonl" | "ndjson") => json(&text),
        Some("toml") => toml(&text),
        Some("yaml" | "yml") => yaml(&text),
        Some(_) | None if file == "-" => guessed(&text),
        Some(_) | None => Err("give it the ending .toml, .yaml or .json".to_owned()),
    };
    let documents = parsed.map_err(Failure::because(file.to_owned()))?;
    // A list stands for its elements.
    let mut out = Vec::new();
    for document in documents {
        match document {
            Value::Array(elements) => out.extend(elements),
            Value::Null => {}
            other => out.push(other),
        }
    }
    if out.is_empty() {
        return Err(Failure::new(format!("{file}: there is nothing in it")));
    }
    Ok(out)
}

/// One document, or one a line.
fn json(text: &str) -> Result<Vec<Value>, String> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

fn toml(text: &str) -> Result<Vec<Value>, String> {
    toml::from_str(text)
        .map(|document| vec![document])
        .map_err(|error| error.to_string().trim().replace('\n', " "))
}

fn yaml(text: &str) -> Result<Vec<Value>, String> {
    // As YAML 1.2 has it: a country code `no` and an answer `y` are texts.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let whole = error.to_string();
        whole.lines().next().unwrap_or("not YAML").to_owned()
    })
}

fn guessed(text: &str) -> Result<Vec<Value>, String> {
    // What begins like JSON may be a table of TOML.
    if text.trim_start().starts_with(['{', '['])
        && let Ok(documents) = json(text)
    {
        return Ok(documents);
    }
    let maps = |documents: &Vec<Value>| {
        documents
            .iter()
            .all(|one| one.is_object() || one.is_array() || one.is_null())
    };
    match (toml(text), yaml(text)) {
        (Ok(documents), _) => Ok(documents),
        (Err(_), Ok(documents)) if maps(&documents) => Ok(documents),
        (Err(_), _) => Err("neither JSON, YAML nor TOML".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_definition_in_each_form() {
        let expected =
            json!({"name": "a", "config": {"argv": ["x", "y"], "timeout": "3s"}, "n": 5});
        let as_toml = "name = \"a\"\nn = 5\n[config]\nargv = [\"x\", \"y\"]\ntimeout = \"3s\"\n";
        let as_yaml = "name: a\nn: 5\nconfig:\n  argv: [x, y]\n  timeout: 3s\n";
        let as_json = expected.to_string();
        assert_eq!(toml(as_toml).unwrap(), std::slice::from_ref(&expected));
        assert_eq!(yaml(as_yaml).unwrap(), std::slice::from_ref(&expected));
        assert_eq!(json(&as_json).unwrap(), std::slice::from_ref(&expected));
        for text in [as_toml, as_yaml, &as_json] {
            assert_eq!(
                guessed(text).unwrap(),
                std::slice::from_ref(&expected),
                "{text}"
            );
        }
        assert!(guessed("just words").is_err());
    }

    #[test]
    fn several_in_a_file_are_several() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.yaml", "---\nname: a\n---\nname: b\n"),
            ("a.json", "[{\"name\": \"a\"}, {\"name\": \"b\"}]"),
            ("a.jsonl", "{\"name\": \"a\"}\n{\"name\": \"b\"}\n"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let found = read(path.to_str().unwrap()).ok();
            assert_eq!(
                found,
                Some(vec![json!({"name": "a"}), json!({"name": "b"})]),
                "{name}"
            );
        }
        let path = folder.path().join("a.ini");
        std::fs::write(&path, "name=a").unwrap();
        assert!(read(path.to_str().unwrap()).is_err());
    }
}
