import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { ScoreRequest, ScoreResponse } from '../protos/gen/headwater/scoring/v1/scoring.ts'
import { createGrpcClient } from '../topology/adapters/server/grpc/client.ts'
import { scoreRequestToWire } from '../topology/adapters/server/grpc/messages.ts'
import type { PaymentEvent } from '../services/demo/generator.ts'
import { benchPayments } from './workload.ts'
import { plainRow, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'

const HISTORY = 20_000
const REQUESTS = 15_000
const CONCURRENCY = 64
const ROUNDS = 3
const BIN = join(import.meta.dirname, '..', 'bin', 'headwater.js')

interface Served {
  readonly port: number
  stop(): Promise<void>
}

async function serve(args: readonly string[], ready: RegExp): Promise<Served> {
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', code => reject(new Error(`${args.join(' ')} ended with ${code} before it served`)))
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      const found = ready.exec(output)
      if (found !== null) resolve(Number(found[1]))
    })
  })
  const closed = new Promise<void>(done => child.once('close', () => done()))
  return {
    port,
    stop: async () => {
      child.kill('SIGTERM')
      await closed
    },
  }
}

interface Load {
  readonly rate: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly answers: readonly ScoreResponse[]
}

/** A closed loop of `CONCURRENCY` callers over one connection; requests are encoded beforehand. */
async function load(port: number, requests: readonly Buffer[]): Promise<Load> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
  const latencies: number[] = []
  const answers: ScoreResponse[] = []
  let next = 0
  const call = (message: Buffer): Promise<ScoreResponse> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        '/headwater.scoring.v1.ScoringService/Score',
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => ScoreResponse.decode(bytes),
        message,
        (error, value) =>
          error === null && value !== undefined ? resolve(value) : reject(error ?? new Error('no answer')),
      )
    })
  const caller = async () => {
    for (let index = next++; index < requests.length; index = next++) {
      const started = performance.now()
      const answer = await call(requests[index] as Buffer)
      latencies.push(performance.now() - started)
      answers.push(answer)
    }
  }
  const started = performance.now()
  await Promise.all(Array.from({ length: CONCURRENCY }, caller))
  const rate = (requests.length / (performance.now() - started)) * 1_000
  client.close()
  latencies.sort((a, b) => a - b)
  const at = (q: number) => latencies[Math.floor(q * latencies.length)] ?? 0
  return { rate, p50Ms: at(0.5), p99Ms: at(0.99), answers }
}

/** Live payments, from now, so that they are neither late nor in the future. */
function shifted(events: readonly PaymentEvent[], endMs: number): readonly PaymentEvent[] {
  const last = events.at(-1)?.occurredAt ?? 0
  return events.map(event => ({ ...event, occurredAt: event.occurredAt - last + endMs }))
}

async function fill(flags: readonly string[], history: readonly PaymentEvent[]): Promise<void> {
  const all = await serve([BIN, 'run', 'all', '--set', 'server.port=0', ...flags], /gRPC on [^\s:]+:(\d+)/)
  const client = createGrpcClient({ address: `127.0.0.1:${all.port}` })
  for (let i = 0; i < history.length; i += 500) {
    await client.publishEvents({ source: 'payment', events: history.slice(i, i + 500).map(event => ({ ...event })) })
  }
  client.close()
  await all.stop()
}

function meanUs(answers: readonly ScoreResponse[], pick: (latency: NonNullable<ScoreResponse['latency']>) => number) {
  let sum = 0
  for (const answer of answers) if (answer.latency !== undefined) sum += pick(answer.latency)
  return sum / answers.length
}

/** `Score` of the shipped fraud service over gRPC, against a bare grpc-js echo of the same messages. */
export async function benchScore(): Promise<readonly BenchRow[]> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-bench-'))
  const flags = ['--data', join(directory, 'data')]
  let scorer: Served | null = null
  let echo: Served | null = null
  try {
    const events = shifted(benchPayments(HISTORY + REQUESTS, 4_000), Date.now())
    await fill(flags, events.slice(0, HISTORY))
    const requests = events.slice(HISTORY).map(event => {
      const wire = scoreRequestToWire({ service: 'fraud', event: { ...event } })
      return Buffer.from(ScoreRequest.encode(wire).finish())
    })
    scorer = await serve([BIN, 'run', 'scorer', '--set', 'server.port=0', ...flags], /gRPC on [^\s:]+:(\d+)/)
    const [first] = (await load(scorer.port, requests.slice(0, 2_000))).answers
    if (first === undefined) throw new Error('no answer came')
    const sample = Buffer.from(ScoreResponse.encode(first).finish()).toString('base64')
    echo = await serve([join(import.meta.dirname, 'echo-server.ts'), sample], /port (\d+)/)
    await load(echo.port, requests.slice(0, 2_000))
    let best: Load | null = null
    let bestEcho = 0
    for (let round = 0; round < ROUNDS; round++) {
      const scored = await load(scorer.port, requests)
      if (best === null || scored.rate > best.rate) best = scored
      bestEcho = Math.max(bestEcho, (await load(echo.port, requests)).rate)
    }
    if (best === null) throw new Error('no round ran')
    const { answers } = best
    return [
      ratioRow(
        'score: full Score, against a bare grpc-js echo of the same messages',
        best.rate,
        'requests/s',
        bestEcho,
      ),
      plainRow('score: p50 at saturation', best.p50Ms, 'ms'),
      plainRow('score: p99 at saturation', best.p99Ms, 'ms'),
      plainRow(
        'score: time in decoding',
        meanUs(answers, l => l.decodeUs),
        'us',
      ),
      plainRow(
        'score: time waiting for a turn and reading the store',
        meanUs(answers, l => l.readUs),
        'us',
      ),
      plainRow(
        'score: time in features',
        meanUs(answers, l => l.featuresUs),
        'us',
      ),
      plainRow(
        'score: time in the model (of the whole turn)',
        meanUs(answers, l => l.modelUs),
        'us',
      ),
      plainRow(
        'score: time in the policy',
        meanUs(answers, l => l.policyUs),
        'us',
      ),
      plainRow(
        'score: time in all',
        meanUs(answers, l => l.totalUs),
        'us',
      ),
    ]
  } finally {
    await scorer?.stop()
    await echo?.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
