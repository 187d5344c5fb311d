import type { Command } from 'commander'
import { loadProject } from '../../topology/runtime/project.ts'
import { examine } from '../../topology/runtime/doctor.ts'
import type { Examination } from '../../topology/runtime/doctor.ts'
import { systemClock } from '../clock.ts'
import { loadConfig } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

interface Flags extends CommonFlags {
  readonly json?: boolean
}

function render(examinations: readonly Examination[]): string {
  const lines: string[] = []
  for (const { part, findings } of examinations) {
    lines.push(part)
    for (const { check, status, message, remedy } of findings) {
      lines.push(`  ${status.padEnd(4)}  ${check}: ${message}`)
      if (remedy !== '') lines.push(`        to do: ${remedy}`)
    }
  }
  return `${lines.join('\n')}\n`
}

/** `headwater doctor`: looks at the engines of the configuration and says what to change; exit code 1 where one fails. */
export function addDoctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('connect to the configured engines and say what is wrong with them, why, and what to change')
    .option('--json', 'print the findings as JSON')
  withConfigFlags(command).action(async (flags: Flags) => {
    const { config } = await loadConfig(flags)
    const loaded = await loadProject(config.features)
    const examinations = await examine(config, systemClock, loaded.ok ? loaded.project.plan : null)
    const failed = examinations.some(({ findings }) => findings.some(({ status }) => status === 'fail'))
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ ok: !failed, examinations }, null, 2)}\n`)
    else process.stdout.write(render(examinations))
    if (failed) process.exitCode = 1
  })
}
