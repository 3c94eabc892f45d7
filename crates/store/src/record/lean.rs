//! A record as JSON without what says nothing: a field that holds what its absence is read as is left out.

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Error;
use serde_json::value::RawValue;
use std::fmt;

/// How each field of a struct is written, in the order in which its derived `Serialize` names them.
pub(super) struct Blank(Vec<(&'static str, Rule)>);

/// What becomes of one field.
enum Rule {
    /// It is written whatever it holds: it has to be there.
    Always,
    /// It is left out where it holds this, which is what its absence is read as.
    Unless(Box<RawValue>),
    /// It is never written: it has a column of its own.
    Never,
}

impl Blank {
    /// Of the least JSON that can be read as a `T`: the fields that have to be there, which are never left out but for those in `without`.
    pub(super) fn of<T: Serialize + DeserializeOwned>(least: &str, without: &[&str]) -> Self {
        let blank = |least| -> Result<Self, Error> {
            let value = serde_json::from_str::<T>(least)?;
            let InOrder(needed) = serde_json::from_str(least)?;
            let InOrder(written) = serde_json::from_str(&serde_json::to_string(&value)?)?;
            let mut written = written.into_iter().peekable();
            let rules = value.serialize(Names::default())?.into_iter().map(|name| {
                // A field that is skipped where it is empty is named but not written.
                let held = written.next_if(|(written, _)| written == name);
                let is_needed = needed.iter().any(|(needed, _)| needed == name);
                let rule = match held {
                    _ if without.contains(&name) => Rule::Never,
                    Some((_, held)) if !is_needed => Rule::Unless(held),
                    Some(_) | None => Rule::Always,
                };
                (name, rule)
            });
            Ok(Self(rules.collect()))
        };
        blank(least).expect("invariant: a record is read where nothing optional is there")
    }
}

/// The fields of a JSON object as they come.
struct InOrder(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = InOrder;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(InOrder(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// The fields of a struct with named fields.
pub(super) fn json<T: Serialize>(value: &T, blank: &Blank) -> String {
    let fields = value
        .serialize(Fields {
            text: Vec::with_capacity(256),
            rules: blank.0.iter(),
        })
        .expect("invariant: a record is a struct of plain data and can be written as JSON");
    String::from_utf8(fields).expect("invariant: JSON is written as UTF-8")
}

struct Fields<'a> {
    text: Vec<u8>,
    /// Of the fields that come yet.
    rules: std::slice::Iter<'a, (&'static str, Rule)>,
}

impl<'a> Fields<'a> {
    fn rule(&mut self, key: &'static str) -> &'a Rule {
        let (name, rule) = self
            .rules
            .next()
            .expect("invariant: a struct always names the same fields");
        debug_assert_eq!(
            *name, key,
            "invariant: a struct names its fields in one order"
        );
        rule
    }
}

impl SerializeStruct for Fields<'_> {
    type Ok = Vec<u8>;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let blank = match self.rule(key) {
            Rule::Never => return Ok(()),
            Rule::Always => None,
            Rule::Unless(blank) => Some(blank.get().as_bytes()),
        };
        let before = self.text.len();
        self.text
            .push(if self.text.is_empty() { b'{' } else { b',' });
        // A name of a field in this program: nothing in it has to be escaped.
        self.text.push(b'"');
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
        let start = self.text.len();
        serde_json::to_writer(&mut self.text, value)?;
        if blank.is_some_and(|blank| blank == &self.text[start..]) {
            self.text.truncate(before);
        }
        Ok(())
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Error> {
        self.rule(key);
        Ok(())
    }

    fn end(mut self) -> Result<Vec<u8>, Error> {
        if self.text.is_empty() {
            self.text.push(b'{');
        }
        self.text.push(b'}');
        Ok(self.text)
    }
}

/// The names of a struct's fields, also of those that it skips.
#[derive(Default)]
struct Names(Vec<&'static str>);

impl SerializeStruct for Names {
    type Ok = Vec<&'static str>;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        self.0.push(key);
        Ok(())
    }

    fn skip_field(&mut self, key: &'static str) -> Result<(), Error> {
        self.0.push(key);
        Ok(())
    }

    fn end(self) -> Result<Vec<&'static str>, Error> {
        Ok(self.0)
    }
}

/// What is not a struct with named fields is no record.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$result, Error> {
            Err(Error::custom("only a struct with named fields is a record"))
        })*
    };
}

/// A serializer that takes a struct with named fields, which it is itself, and nothing else.
macro_rules! of_structs {
    ($serializer:ty, $ok:ty) => {
        impl Serializer for $serializer {
            type Ok = $ok;
            type Error = Error;
            type SerializeSeq = Impossible<$ok, Error>;
            type SerializeTuple = Impossible<$ok, Error>;
            type SerializeTupleStruct = Impossible<$ok, Error>;
            type SerializeTupleVariant = Impossible<$ok, Error>;
            type SerializeMap = Impossible<$ok, Error>;
            type SerializeStruct = Self;
            type SerializeStructVariant = Impossible<$ok, Error>;

            fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
                Ok(self)
            }

            refused! {
                serialize_bool(bool) -> $ok;
                serialize_i8(i8) -> $ok;
                serialize_i16(i16) -> $ok;
                serialize_i32(i32) -> $ok;
                serialize_i64(i64) -> $ok;
                serialize_u8(u8) -> $ok;
                serialize_u16(u16) -> $ok;
                serialize_u32(u32) -> $ok;
                serialize_u64(u64) -> $ok;
                serialize_f32(f32) -> $ok;
                serialize_f64(f64) -> $ok;
                serialize_char(char) -> $ok;
                serialize_str(&str) -> $ok;
                serialize_bytes(&[u8]) -> $ok;
                serialize_none() -> $ok;
                serialize_unit() -> $ok;
                serialize_unit_struct(&'static str) -> $ok;
                serialize_unit_variant(&'static str, u32, &'static str) -> $ok;
                serialize_seq(Option<usize>) -> Self::SerializeSeq;
                serialize_tuple(usize) -> Self::SerializeTuple;
                serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
                serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
                serialize_map(Option<usize>) -> Self::SerializeMap;
                serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
            }

            fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<$ok, Error> {
                value.serialize(self)
            }

            fn serialize_newtype_struct<T: Serialize + ?Sized>(
                self,
                _: &'static str,
                value: &T,
            ) -> Result<$ok, Error> {
                value.serialize(self)
            }

            fn serialize_newtype_variant<T: Serialize + ?Sized>(
                self,
                _: &'static str,
                _: u32,
                _: &'static str,
                _: &T,
            ) -> Result<$ok, Error> {
                Err(Error::custom("only a struct with named fields is a record"))
            }
        }
    };
}

of_structs!(Fields<'_>, Vec<u8>);
of_structs!(Names, Vec<&'static str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Sample {
        id: String,
        needed: u32,
        absent: Option<u32>,
        zero: Option<u32>,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        list: Vec<u32>,
        deep: Option<Inner>,
        #[serde(default)]
        left_out: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        skipped: Vec<u32>,
        #[serde(default)]
        last: u32,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Inner {
        absent: Option<u32>,
    }

    #[test]
    fn what_absence_is_read_as_is_left_out_and_everything_else_stays() {
        let blank = Blank::of::<Sample>(r#"{"id":"","needed":0}"#, &["left_out"]);
        let mut sample = Sample {
            id: "a\"b".into(),
            needed: 0,
            absent: None,
            zero: Some(0),
            count: 0,
            list: Vec::new(),
            deep: Some(Inner { absent: None }),
            left_out: 7,
            skipped: Vec::new(),
            last: 9,
        };
        let text = json(&sample, &blank);
        assert_eq!(
            text,
            r#"{"id":"a\"b","needed":0,"zero":0,"deep":{"absent":null},"last":9}"#
        );
        sample.list.push(1);
        sample.count = 1;
        sample.skipped.push(2);
        let blank = Blank::of::<Sample>(r#"{"id":"","needed":0}"#, &[]);
        let text = json(&sample, &blank);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
        let inner = Blank::of::<Inner>("{}", &[]);
        assert_eq!(json(&Inner { absent: None }, &inner), "{}");
    }
}
