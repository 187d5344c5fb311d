import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { PortError } from '../../topology/ports/errors.ts'
import { InputError } from '../../topology/jobs/rows.ts'
import { UsageError } from '../load.ts'
import { addBacktestCommand } from './backtest.ts'
import { addDemoCommand } from './demo.ts'
import { addDlqCommand } from './dlq.ts'
import { addDoctorCommand } from './doctor.ts'
import { addDriftCommand } from './drift.ts'
import { addImportCommand } from './import.ts'
import { addInitCommand } from './init-command.ts'
import { addMigrateCommand } from './migrate.ts'
import { addPlanCommand } from './plan.ts'
import { addRunCommand } from './run.ts'
import { addSqlCommand } from './sql.ts'
import { addStackCommand } from './stack.ts'
import { addTopicsCommand } from './topics.ts'

/** The version in package.json, beside the sources or above dist/. */
function packageVersion(): string {
  const require = createRequire(import.meta.url)
  for (const path of ['../../package.json', '../../../package.json']) {
    try {
      return (require(path) as { version: string }).version
    } catch {
      continue
    }
  }
  return 'unknown'
}

function createProgram(): Command {
  const program = new Command('headwater')
    .description(
      'A streaming feature store and scoring engine: features, scores, history and drift from one definition.',
    )
    .version(packageVersion(), '--version', 'print the version')
    .showHelpAfterError('(add --help for what the command takes)')
    .exitOverride()
  addInitCommand(program)
  addPlanCommand(program)
  addRunCommand(program)
  addImportCommand(program)
  addBacktestCommand(program)
  addSqlCommand(program)
  addDriftCommand(program)
  addMigrateCommand(program)
  addTopicsCommand(program)
  addDlqCommand(program)
  addDoctorCommand(program)
  addDemoCommand(program)
  addStackCommand(program)
  return program
}

/** Errors that a user can act on are printed as one message; anything else keeps its stack. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode
  if (error instanceof UsageError || error instanceof PortError || error instanceof InputError) {
    process.stderr.write(`headwater: ${error.message}\n`)
    return 1
  }
  process.stderr.write(`headwater: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return 1
}

// Read by the ONNX runtime when it is loaded; nothing of ours reports to anyone.
process.env['ORT_DISABLE_TELEMETRY'] ??= '1'

try {
  await createProgram().parseAsync(process.argv)
} catch (error) {
  process.exitCode = report(error)
}
