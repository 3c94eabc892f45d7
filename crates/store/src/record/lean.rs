//! A record as JSON without what says nothing: a field that holds what its absence is read as is left out.

use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Error;
use serde_json::value::RawValue;
use std::fmt;

/// What the fields of a struct hold where they are absent, as JSON, in the order in which they are written.
pub(super) struct Blank(Vec<(String, Box<RawValue>)>);

impl Blank {
    /// Of the least JSON that can be read as a `T`: the fields that have to be there, which are never left out.
    pub(super) fn of<T: Serialize + DeserializeOwned>(least: &str) -> Self {
        let blank = |least| -> Result<Self, Error> {
            let text = serde_json::to_string(&serde_json::from_str::<T>(least)?)?;
            let (InOrder(needed), InOrder(mut fields)) =
                (serde_json::from_str(least)?, serde_json::from_str(&text)?);
            fields.retain(|(name, _)| needed.iter().all(|(needed, _)| needed != name));
            Ok(Self(fields))
        };
        blank(least).expect("invariant: a record is read where nothing optional is there")
    }

    /// Whether a field is left out where it is written so. They are asked for in their order.
    fn has(&self, place: &mut usize, key: &str, text: &[u8]) -> bool {
        let ahead = &self.0[*place..];
        let Some(found) = ahead.iter().position(|(name, _)| name == key) else {
            return false;
        };
        *place += found + 1;
        ahead[found].1.get().as_bytes() == text
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

/// The fields of a struct with named fields, but `without`.
pub(super) fn json<T: Serialize>(value: &T, blank: &Blank, without: &[&str]) -> String {
    let fields = value
        .serialize(Fields {
            text: Vec::with_capacity(256),
            blank,
            place: 0,
            without,
        })
        .expect("invariant: a record is a struct of plain data and can be written as JSON");
    String::from_utf8(fields).expect("invariant: JSON is written as UTF-8")
}

struct Fields<'a> {
    text: Vec<u8>,
    blank: &'a Blank,
    /// How far its fields were compared.
    place: usize,
    without: &'a [&'a str],
}

impl SerializeStruct for Fields<'_> {
    type Ok = Vec<u8>;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if self.without.contains(&key) {
            return Ok(());
        }
        let before = self.text.len();
        self.text
            .push(if self.text.is_empty() { b'{' } else { b',' });
        // A name of a field in this program: nothing in it has to be escaped.
        self.text.push(b'"');
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"\":");
        let start = self.text.len();
        serde_json::to_writer(&mut self.text, value)?;
        if self.blank.has(&mut self.place, key, &self.text[start..]) {
            self.text.truncate(before);
        }
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

/// What is not a struct with named fields is no record.
macro_rules! refused {
    ($($method:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $(_: $argument),*) -> Result<$result, Error> {
            Err(Error::custom("only a struct with named fields is a record"))
        })*
    };
}

impl<'a> Serializer for Fields<'a> {
    type Ok = Vec<u8>;
    type Error = Error;
    type SerializeSeq = Impossible<Vec<u8>, Error>;
    type SerializeTuple = Impossible<Vec<u8>, Error>;
    type SerializeTupleStruct = Impossible<Vec<u8>, Error>;
    type SerializeTupleVariant = Impossible<Vec<u8>, Error>;
    type SerializeMap = Impossible<Vec<u8>, Error>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = Impossible<Vec<u8>, Error>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    refused! {
        serialize_bool(bool) -> Vec<u8>;
        serialize_i8(i8) -> Vec<u8>;
        serialize_i16(i16) -> Vec<u8>;
        serialize_i32(i32) -> Vec<u8>;
        serialize_i64(i64) -> Vec<u8>;
        serialize_u8(u8) -> Vec<u8>;
        serialize_u16(u16) -> Vec<u8>;
        serialize_u32(u32) -> Vec<u8>;
        serialize_u64(u64) -> Vec<u8>;
        serialize_f32(f32) -> Vec<u8>;
        serialize_f64(f64) -> Vec<u8>;
        serialize_char(char) -> Vec<u8>;
        serialize_str(&str) -> Vec<u8>;
        serialize_bytes(&[u8]) -> Vec<u8>;
        serialize_none() -> Vec<u8>;
        serialize_unit() -> Vec<u8>;
        serialize_unit_struct(&'static str) -> Vec<u8>;
        serialize_unit_variant(&'static str, u32, &'static str) -> Vec<u8>;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Vec<u8>, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<u8>, Error> {
        Err(Error::custom("only a struct with named fields is a record"))
    }
}

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
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    struct Inner {
        absent: Option<u32>,
    }

    #[test]
    fn what_absence_is_read_as_is_left_out_and_everything_else_stays() {
        let blank = Blank::of::<Sample>(r#"{"id":"","needed":0}"#);
        let mut sample = Sample {
            id: "a\"b".into(),
            needed: 0,
            absent: None,
            zero: Some(0),
            count: 0,
            list: Vec::new(),
            deep: Some(Inner { absent: None }),
            left_out: 7,
        };
        let text = json(&sample, &blank, &["left_out"]);
        assert_eq!(
            text,
            r#"{"id":"a\"b","needed":0,"zero":0,"deep":{"absent":null}}"#
        );
        sample.list.push(1);
        sample.count = 1;
        let text = json(&sample, &blank, &[]);
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
        let inner = Blank::of::<Inner>("{}");
        assert_eq!(json(&Inner { absent: None }, &inner, &[]), "{}");
    }
}
