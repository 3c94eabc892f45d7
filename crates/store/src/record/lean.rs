//! A record as JSON without what says nothing: fields that are absent or empty are left out, and read as such again.

use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use serde_json::Error;

/// What a field without a value looks like. No record has an optional list or map, for which empty is not absent.
const EMPTY: [&[u8]; 3] = [b"null", b"[]", b"{}"];

/// The fields of a struct with named fields, but `without`.
pub(super) fn json<T: Serialize>(value: &T, without: &str) -> String {
    let fields = value
        .serialize(Fields {
            text: Vec::with_capacity(256),
            without,
        })
        .expect("invariant: a record is a struct of plain data and can be written as JSON");
    String::from_utf8(fields).expect("invariant: JSON is written as UTF-8")
}

struct Fields<'a> {
    text: Vec<u8>,
    without: &'a str,
}

impl SerializeStruct for Fields<'_> {
    type Ok = Vec<u8>;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if key == self.without {
            return Ok(());
        }
        let before = self.text.len();
        self.text
            .push(if self.text.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut self.text, key)?;
        self.text.push(b':');
        let start = self.text.len();
        serde_json::to_writer(&mut self.text, value)?;
        if EMPTY.contains(&&self.text[start..]) {
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

    #[derive(Serialize)]
    struct Sample {
        id: &'static str,
        absent: Option<u32>,
        zero: Option<u32>,
        list: Vec<u32>,
        deep: Option<Inner>,
        left_out: u32,
    }

    #[derive(Serialize)]
    struct Inner {
        absent: Option<u32>,
    }

    #[test]
    fn absent_and_empty_fields_are_left_out_and_everything_else_stays() {
        let mut sample = Sample {
            id: "a\"b",
            absent: None,
            zero: Some(0),
            list: Vec::new(),
            deep: Some(Inner { absent: None }),
            left_out: 7,
        };
        let text = json(&sample, "left_out");
        assert_eq!(text, r#"{"id":"a\"b","zero":0,"deep":{"absent":null}}"#);
        sample.list.push(1);
        assert!(json(&sample, "left_out").contains(r#""list":[1]"#));
        assert_eq!(json(&Inner { absent: None }, ""), "{}");
    }
}
