import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { readFileSync } from 'node:fs'
import { PortError } from '../ports/errors.ts'

/** A reply of Redis: text, a number, a list of replies, or nothing. */
export type RedisReply = string | number | null | readonly RedisReply[]

/** Where and as whom to connect. */
export interface RedisAddress {
  readonly host: string
  readonly port: number
  /** PEM files; absent for an unencrypted connection. */
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string }
  readonly username?: string
  readonly password?: string
  /** How long a reply may take. */
  readonly timeoutMs?: number
}

/** One connection that sends commands and hands back replies in their order. */
export interface RedisConnection {
  /** @throws PortError QUERY_FAILED with what Redis answered, SERVER_FAILED when no answer comes */
  command(...words: readonly (string | number)[]): Promise<RedisReply>
  close(): void
}

interface Parsed {
  readonly reply: RedisReply | Error
  readonly next: number
}

/** The reply that begins at `from`, or null when it has not arrived whole (RESP2). */
function parseReply(bytes: Buffer, from: number): Parsed | null {
  const end = bytes.indexOf('\r\n', from)
  if (end < 0) return null
  const line = bytes.toString('utf8', from + 1, end)
  const next = end + 2
  switch (String.fromCharCode(bytes[from] ?? 0)) {
    case '+':
      return { reply: line, next }
    case '-':
      return { reply: new PortError('QUERY_FAILED', `Redis answered: ${line}`), next }
    case ':':
      return { reply: Number(line), next }
    case '$': {
      const length = Number(line)
      if (length < 0) return { reply: null, next }
      if (bytes.length < next + length + 2) return null
      return { reply: bytes.toString('utf8', next, next + length), next: next + length + 2 }
    }
    case '*':
      return parseList(bytes, next, Number(line))
    default:
      throw new PortError('SERVER_FAILED', 'what answers on this port is not Redis')
  }
}

function parseList(bytes: Buffer, from: number, count: number): Parsed | null {
  if (count < 0) return { reply: null, next: from }
  const items: RedisReply[] = []
  let next = from
  for (let i = 0; i < count; i++) {
    const item = parseReply(bytes, next)
    if (item === null) return null
    items.push(item.reply instanceof Error ? item.reply.message : item.reply)
    next = item.next
  }
  return { reply: items, next }
}

function encode(words: readonly (string | number)[]): string {
  return `*${words.length}\r\n${words.map(word => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`).join('')}`
}

function open(address: RedisAddress): Promise<Socket> {
  const { host, port, tls } = address
  const socket =
    tls === undefined
      ? connectTcp({ host, port })
      : connectTls({
          host,
          port,
          ca: readFileSync(tls.ca),
          ...(tls.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
          ...(tls.key === undefined ? {} : { key: readFileSync(tls.key) }),
        })
  return new Promise((done, fail) => {
    const timer = setTimeout(() => socket.destroy(new Error('no connection in time')), address.timeoutMs ?? TIMEOUT_MS)
    socket.once('error', error => {
      clearTimeout(timer)
      fail(new PortError('SERVER_FAILED', `Redis at ${host}:${port} cannot be reached: ${error.message}`))
    })
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      clearTimeout(timer)
      done(socket)
    })
  })
}

const TIMEOUT_MS = 5_000

/**
 * A connection for looking after servers: it knows nothing of clusters and sends nothing twice.
 * @throws PortError SERVER_FAILED when nothing answers, QUERY_FAILED when the user or password is wrong
 */
export async function connectRedis(address: RedisAddress): Promise<RedisConnection> {
  const socket = await open(address)
  const waiting: { readonly done: (reply: RedisReply) => void; readonly fail: (error: Error) => void }[] = []
  let pending: Buffer = Buffer.alloc(0)
  let closed = false
  const end = (error: Error): void => {
    closed = true
    socket.destroy()
    for (const each of waiting.splice(0)) each.fail(error)
  }
  const gone = new PortError('SERVER_FAILED', `Redis at ${address.host}:${address.port} closed the connection`)
  socket.on('error', () => end(gone))
  socket.on('close', () => end(gone))
  socket.on('data', (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    try {
      for (let parsed = parseReply(pending, 0); parsed !== null; parsed = parseReply(pending, 0)) {
        pending = pending.subarray(parsed.next)
        const first = waiting.shift()
        if (parsed.reply instanceof Error) first?.fail(parsed.reply)
        else first?.done(parsed.reply)
      }
    } catch (error) {
      end(error instanceof Error ? error : gone)
    }
  })
  const command: RedisConnection['command'] = (...words) =>
    new Promise((done, fail) => {
      if (closed) return fail(gone)
      const late = new PortError('SERVER_FAILED', `Redis at ${address.host}:${address.port} does not answer`)
      const timer = setTimeout(() => end(late), address.timeoutMs ?? TIMEOUT_MS)
      waiting.push({
        done: reply => {
          clearTimeout(timer)
          done(reply)
        },
        fail: error => {
          clearTimeout(timer)
          fail(error)
        },
      })
      socket.write(encode(words))
    })
  const { username, password } = address
  if (password !== undefined) {
    try {
      await (username === undefined ? command('AUTH', password) : command('AUTH', username, password))
    } catch (error) {
      end(gone)
      throw error
    }
  }
  return { command, close: () => end(gone) }
}

/** One command on a connection of its own. */
export async function askRedis(address: RedisAddress, ...words: readonly (string | number)[]): Promise<RedisReply> {
  const connection = await connectRedis(address)
  try {
    return await connection.command(...words)
  } finally {
    connection.close()
  }
}
