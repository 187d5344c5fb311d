import { connect } from 'node:net'

const API_VERSIONS = 18
const CLIENT = 'headwater-stack'
const CORRELATION = 1

/** An ApiVersions request, version 0: the one that every broker answers, before any login. */
function apiVersionsRequest(): Buffer {
  const client = Buffer.from(CLIENT)
  const frame = Buffer.alloc(4 + 10 + client.length)
  frame.writeInt32BE(10 + client.length, 0)
  frame.writeInt16BE(API_VERSIONS, 4)
  frame.writeInt16BE(0, 6)
  frame.writeInt32BE(CORRELATION, 8)
  frame.writeInt16BE(client.length, 12)
  client.copy(frame, 14)
  return frame
}

/**
 * Whether a broker answers in Kafka's protocol on an unencrypted port.
 * @param timeoutMs how long the answer may take
 */
export function kafkaAnswers(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise(done => {
    const socket = connect({ host, port })
    const end = (answer: boolean): void => {
      clearTimeout(timer)
      socket.destroy()
      done(answer)
    }
    const timer = setTimeout(() => end(false), timeoutMs)
    let answer: Buffer = Buffer.alloc(0)
    socket.once('connect', () => socket.write(apiVersionsRequest()))
    socket.on('error', () => end(false))
    socket.on('close', () => end(false))
    socket.on('data', (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      if (answer.length >= 10) end(answer.readInt32BE(4) === CORRELATION && answer.readInt16BE(8) === 0)
    })
  })
}
