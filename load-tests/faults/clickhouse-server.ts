import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'

const [directory = '', port = '0'] = process.argv.slice(2)
const server = await startChdbServer({ directory, port: Number(port) })
process.stdout.write(`ready: ${server.url}\n`)
await new Promise<void>(resolve => process.once('SIGTERM', () => resolve()))
await server.close()
