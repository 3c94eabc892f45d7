// The frames of logs and exec: length (u32), kind (u8), three zeros, id (u64), payload; little endian.

const HEAD_BYTES = 16;

/** Kinds in a log. */
export const logKind = { output: 1, marker: 2, end: 3, keepalive: 4 } as const;
/** Kinds of an exec. */
export const execKind = { input: 1, output: 4, exited: 5, failed: 6 } as const;

/** One message. */
export interface Frame {
  kind: number;
  id: number;
  payload: Buffer;
}

/** The whole frames of a stream; one that was cut is left away. */
export async function* readFrames(source: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let pieces: Buffer[] = [];
  let have = 0;
  let need = HEAD_BYTES;
  for await (const piece of source) {
    pieces.push(piece);
    have += piece.length;
    // Joined only when there is enough: large frames come in many pieces.
    if (have < need) continue;
    let rest = pieces.length === 1 ? piece : Buffer.concat(pieces);
    for (;;) {
      need = rest.length < HEAD_BYTES ? HEAD_BYTES : HEAD_BYTES + rest.readUInt32LE(0);
      if (rest.length < need) break;
      yield { kind: rest.readUInt8(4), id: Number(rest.readBigUInt64LE(8)), payload: rest.subarray(HEAD_BYTES, need) };
      rest = rest.subarray(need);
    }
    pieces = [rest];
    have = rest.length;
  }
}

/** One frame, as it is sent. */
export function frame(kind: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(payload.length, 0);
  head.writeUInt8(kind, 4);
  return Buffer.concat([head, payload]);
}
