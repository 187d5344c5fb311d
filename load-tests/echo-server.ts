import { Server, ServerCredentials } from '@grpc/grpc-js'
import { ScoreRequest, ScoreResponse } from '../protos/gen/headwater/scoring/v1/scoring.ts'

/** A bare grpc-js server that decodes the same request and answers with the same response, and does nothing else. */
const answer = ScoreResponse.decode(Buffer.from(process.argv[2] ?? '', 'base64'))
const server = new Server()
server.addService(
  {
    score: {
      path: '/headwater.scoring.v1.ScoringService/Score',
      requestStream: false,
      responseStream: false,
      requestSerialize: (value: ScoreRequest) => Buffer.from(ScoreRequest.encode(value).finish()),
      requestDeserialize: (bytes: Buffer) => ScoreRequest.decode(bytes),
      responseSerialize: (value: ScoreResponse) => Buffer.from(ScoreResponse.encode(value).finish()),
      responseDeserialize: (bytes: Buffer) => ScoreResponse.decode(bytes),
    },
  },
  { score: (_call: unknown, callback: (error: null, value: ScoreResponse) => void) => callback(null, answer) },
)
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error
  process.stdout.write(`port ${port}\n`)
})
process.once('SIGTERM', () => server.forceShutdown())
