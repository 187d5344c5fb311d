import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../topology/runtime/settings.ts'

const README = readFileSync(resolve(import.meta.dirname, '..', '..', 'README.md'), 'utf8')

/** Rows of the table under the heading, cells without padding and code marks. */
function tableUnder(heading: string): readonly (readonly string[])[] {
  const [, section = ''] = README.split(`\n## ${heading}\n`)
  const [text = ''] = section.split('\n## ')
  const lines = text.split('\n').filter(line => line.startsWith('|'))
  return lines.map(line =>
    line
      .slice(1, -1)
      .split('|')
      .map(cell => cell.trim().replaceAll('`', '')),
  )
}

describe('the README', () => {
  it('lists every setting with its default and meaning, and no other', () => {
    const [head, , ...rows] = tableUnder('Settings')
    expect(head).toEqual(['key', 'default', 'meaning'])
    const defaultText = (initial: (typeof SETTINGS)[number]['initial']) =>
      initial === '' || (Array.isArray(initial) && initial.length === 0)
        ? 'none'
        : Array.isArray(initial)
          ? initial.join(', ')
          : String(initial)
    expect(rows).toEqual(SETTINGS.map(({ key, initial, doc }) => [key, defaultText(initial), doc]))
  })
})
