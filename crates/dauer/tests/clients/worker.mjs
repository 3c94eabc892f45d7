// The program of worker.py for Node: with fetch, or with an agent that keeps its connections.
import http from 'node:http'

const api = process.env.DAUER_API
const job = process.env.DAUER_JOB_ID
// Shorter than it takes until the job stands still: an answer may be there at once when it goes on.
const firstMilliseconds = 3
const milliseconds = 1000
const headers = { 'content-type': 'application/json' }

async function withFetch(method, path, body, milliseconds) {
  const answer = await fetch(api + path, { method, body, headers, signal: AbortSignal.timeout(milliseconds) })
  return [answer.status, await answer.text()]
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })

function withAgent(method, path, body, milliseconds) {
  return new Promise((resolve, reject) => {
    const request = http.request(api + path, { method, headers, agent, timeout: milliseconds }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (part) => { text += part })
      answer.on('end', () => resolve([answer.statusCode, text]))
      answer.on('error', reject)
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', reject)
    request.end(body)
  })
}

const once = process.argv.at(-1) === 'agent' ? withAgent : withFetch
let failures = 0

async function call(method, path, body) {
  for (let tries = 0; tries < 100; tries++) {
    try {
      const [status, text] = await once(method, path, body && JSON.stringify(body), tries || !body ? milliseconds : firstMilliseconds)
      return [status, text ? JSON.parse(text) : null]
    } catch (error) {
      failures++
      console.error('failed:', error.name)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  throw new Error(`no answer to ${method} ${path}`)
}

const seen = {}
let [status, answer] = await call('POST', `/jobs/${job}/checkpoint`, { token: 'one' })
seen.checkpoint = [status, answer.status]
;[status, answer] = await call('POST', `/jobs/${job}/checkpoint`, { token: 'two', suspend_duration: '2s' })
seen.suspend = [status, answer.status, answer.job.generation]
;[status, answer] = await call('POST', '/v1/self/locks', { token: 'lock' })
seen.lock = [status, (await call('GET', '/v1/self'))[1].locks]
const [released] = await call('DELETE', `/v1/self/locks/${answer.lock_id}`)
seen.unlock = [released, (await call('GET', '/v1/self'))[1].locks]
do {
  [status, answer] = await call('POST', '/v1/self/signals/wait', { name: 'go', token: 'three', suspend: true })
} while (answer.status === 'pending')
seen.signal = [status, answer.status, answer.payload]
const [, again] = await call('POST', '/v1/self/signals/wait', { name: 'go', token: 'three' })
seen.same = JSON.stringify(again) === JSON.stringify(answer)
seen.checkpoints = (await call('GET', '/v1/self'))[1].generation
seen.failed = failures > 0
console.log(await call('POST', '/v1/self/exit', { exit_code: 0, output: seen }))
