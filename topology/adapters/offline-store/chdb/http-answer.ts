import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Gzip } from 'node:zlib'
import { createGzip } from 'node:zlib'
import type { RunResult } from './connections.ts'
import { toEngineError } from './engine-error.ts'
import type { HttpQuery } from './http-request.ts'

const EXCEPTION_GAP_MS = 50
const CUT_DELAY_MS = 1_000

function contentType(format: string): string {
  if (/EachRow|^NDJSON$|^JSONLines$/.test(format)) return 'application/x-ndjson; charset=UTF-8'
  if (format.startsWith('JSON')) return 'application/json; charset=UTF-8'
  if (format.startsWith('CSV'))
    return `text/csv; charset=UTF-8; header=${format.includes('Names') ? 'present' : 'absent'}`
  if (/^(TSV|TabSeparated)/.test(format)) return 'text/tab-separated-values; charset=UTF-8'
  if (/^(Pretty|Vertical|Markdown|Values|XML|LineAsString)/.test(format)) return 'text/plain; charset=UTF-8'
  return 'application/octet-stream'
}

function summary(result: RunResult | null, written: boolean): string {
  const rows = String(result?.rows ?? 0)
  const bytes = String(result?.readBytes ?? 0)
  return JSON.stringify({
    read_rows: rows,
    read_bytes: bytes,
    written_rows: written ? rows : '0',
    written_bytes: written ? bytes : '0',
    total_rows_to_read: '0',
    result_rows: written ? rows : '0',
    result_bytes: written ? bytes : '0',
    elapsed_ns: String(result?.elapsedNs ?? 0),
  })
}

/** Sets status and headers of an answer; returns the tag of its exception block. */
export function startAnswer(
  response: ServerResponse,
  query: HttpQuery,
  format: string,
  done: RunResult | null,
  written = false,
): string {
  const tag = randomBytes(8).toString('hex')
  response.statusCode = 200
  response.setHeader('Content-Type', contentType(format))
  response.setHeader('X-ClickHouse-Format', format)
  response.setHeader('X-ClickHouse-Summary', summary(done, written))
  response.setHeader('X-ClickHouse-Exception-Tag', tag)
  if (query.compress) response.setHeader('Content-Encoding', 'gzip')
  return tag
}

/** Waits until `target` takes more, at most `stalledMs`; a client that reads nothing for so long is cut off. */
function drained(target: ServerResponse | Gzip, response: ServerResponse, stalledMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (error: Error | null): void => {
      clearTimeout(timer)
      target.off('drain', onDrain)
      response.off('close', onClose)
      if (error === null) resolve()
      else reject(error)
    }
    const onDrain = (): void => finish(null)
    const onClose = (): void => finish(new Error('the client closed the connection'))
    const timer = setTimeout(() => finish(new Error('the client reads nothing')), stalledMs)
    target.once('drain', onDrain)
    response.once('close', onClose)
    if (response.destroyed) onClose()
  })
}

/** Sends chunks as they come; an error after the first byte ends the body with ClickHouse's exception block. */
export async function sendChunks(
  response: ServerResponse,
  query: HttpQuery,
  tag: string,
  chunks: AsyncIterable<Uint8Array>,
  stalledMs: number,
): Promise<void> {
  const gzip = query.compress ? createGzip({ level: 1 }) : null
  gzip?.pipe(response)
  const target = gzip ?? response
  try {
    for await (const chunk of chunks) {
      if (response.destroyed) return
      if (!target.write(chunk)) await drained(target, response, stalledMs)
    }
  } catch (error) {
    if (response.destroyed) return
    const text = `${toEngineError(error).text}\n`
    const block = `\r\n__exception__\r\n${tag}\r\n${text}${Buffer.byteLength(text)} ${tag}\r\n__exception__\r\n`
    // Clients look for the block in one piece, so it is sent by itself. Then the connection is cut, so that no client
    // takes the body for whole, but not before a client that is busy with the rows has come to the block.
    gzip?.flush()
    await sleep(EXCEPTION_GAP_MS)
    const cut = (): void => void setTimeout(() => response.destroy(), CUT_DELAY_MS).unref()
    gzip?.unpipe(response)
    if (gzip === null) response.write(block, cut)
    else {
      gzip.on('data', (rest: Buffer) => response.write(rest)).once('end', () => response.write('', cut))
      gzip.resume().end(block)
    }
    return
  }
  await new Promise<void>(resolve => {
    response.once('close', resolve)
    response.once('finish', resolve)
    target.end()
  })
}

/** One chunk, or none when it is empty. */
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield await Promise.resolve(bytes)
}

/** A stream whose first chunk has been taken already. */
export async function* withFirst(
  first: IteratorResult<Uint8Array>,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    let next = first
    while (next.done !== true) {
      yield next.value
      next = await iterator.next()
    }
  } finally {
    await iterator.return?.()
  }
}
