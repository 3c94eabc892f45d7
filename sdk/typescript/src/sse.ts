// Server-sent events, as the HTML standard has them.

/** One event. */
export interface ServerEvent {
  name: string;
  data: string;
  /** The newest id of the stream, which resumes it after this event. */
  id: string;
}

/** The whole events of a stream. One whose empty line did not come was cut, and is dropped. */
export async function* serverEvents(source: AsyncIterable<Buffer>): AsyncGenerator<ServerEvent> {
  let name = "";
  let lastId = "";
  let data: string[] = [];
  for await (const line of lines(source)) {
    if (line === "") {
      if (data.length > 0) yield { name: name || "message", data: data.join("\n"), id: lastId };
      name = "";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) lastId = value;
  }
}

async function* lines(source: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let begun: Buffer[] = [];
  for await (const piece of source) {
    let from = 0;
    for (;;) {
      const end = piece.indexOf(10, from);
      if (end < 0) break;
      // Joined as bytes: a character may lie in two pieces.
      const line = Buffer.concat([...begun, piece.subarray(from, end)]).toString();
      begun = [];
      from = end + 1;
      yield line.endsWith("\r") ? line.slice(0, -1) : line;
    }
    begun.push(piece.subarray(from));
  }
}
