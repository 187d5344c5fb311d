/**
 * Asks a gRPC server for its health, for orchestrators that cannot ask by themselves:
 *
 *     node services/health-probe.ts 127.0.0.1:50051
 *
 * One call of grpc.health.v1.Health/Check for the whole server, over plain HTTP/2, without any package: it is started
 * every few seconds. Exit code 0 when the answer is SERVING, else 1 with the reason on standard error.
 */
import { connect } from 'node:http2'

const TIMEOUT_MS = 4_000
/** A gRPC frame: not compressed, no bytes, which is a HealthCheckRequest with the empty service name. */
const REQUEST = Buffer.alloc(5)
/** A gRPC frame of two bytes: field 1 of HealthCheckResponse is 1, SERVING. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 8, 1])
const MAX_ANSWER_BYTES = 1_024

function end(problem: string | null): never {
  if (problem !== null) process.stderr.write(`not healthy: ${problem}\n`)
  process.exit(problem === null ? 0 : 1)
}

const address = process.argv[2]
if (address === undefined) end('give the address of the server, such as 127.0.0.1:50051')
setTimeout(() => end(`${address} did not answer within ${TIMEOUT_MS} ms`), TIMEOUT_MS)
const session = connect(`http://${address}`)
session.once('error', error => end(`${address}: ${error.message}`))
const call = session.request({
  ':method': 'POST',
  ':path': '/grpc.health.v1.Health/Check',
  'content-type': 'application/grpc',
  te: 'trailers',
})
const chunks: Buffer[] = []
let answerBytes = 0
call.on('data', (chunk: Buffer) => {
  answerBytes += chunk.length
  if (answerBytes > MAX_ANSWER_BYTES) end(`${address} answered with something else than a health status`)
  chunks.push(chunk)
})
call.once('error', error => end(`${address}: ${error.message}`))
call.once('end', () => end(Buffer.concat(chunks).equals(SERVING) ? null : `${address} is not serving`))
call.end(REQUEST)
