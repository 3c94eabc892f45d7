#!/usr/bin/env node
// An agent that drafts, asks a human, and improves the draft until it is approved. While it waits it has no process and no memory.
//
//     (cd sdk/typescript && npm ci && npm run build)
//     dauer run --name reviewer --workdir $PWD --detach -- node examples/reviewer.mjs worms
//     dauer logs -f reviewer &
//     dauer signal reviewer review '{"approved": false, "comment": "too short"}'      # in a week, after a reboot: whenever
//     dauer signal reviewer review '{"approved": true}'
//     dauer result reviewer
//
// It also runs plainly, and asks on the terminal then.
import { createInterface } from "node:readline/promises";
import * as dauer from "../sdk/typescript/dist/index.js";

// All it knows is in plain memory: no database, no state machine, no replay.
const topic = process.argv[2] ?? "worms";
const comments = [];

async function write() {
  await new Promise((resolve) => setTimeout(resolve, 1000)); // a language model thinks
  return [`About ${topic}.`, ...comments.map((comment, page) => `As to “${comment}”: see page ${page + 1}.`)].join(" ");
}

/** A human's answer: {"approved": true} or {"approved": false, "comment": …}. */
async function ask(text) {
  console.log(`draft: ${text}`);
  if (dauer.managed()) {
    console.log("waiting for: dauer signal reviewer review JSON");
    return dauer.waitSignal("review");
  }
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await terminal.question("approve? (empty line, or a comment) ");
  terminal.close();
  return { approved: answer === "", comment: answer };
}

let text;
for (;;) {
  text = await write();
  await dauer.checkpoint(); // the thinking is paid for once
  const review = await ask(text);
  if (review.approved) break;
  comments.push(review.comment ?? "?");
  await dauer.progress(comments.length, undefined, "improving");
}

// Published whole or not at all: no checkpoint in between.
await dauer.withLock(async () => console.log(`published: ${JSON.stringify(text)}`));
await dauer.exit({ text, rounds: comments.length + 1 });
