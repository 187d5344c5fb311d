import { share } from './ratio.ts'
import { tallyUrls } from './urls.ts'

/** Null for a text that may be missing, otherwise never. */
type Counted<T extends string | null> = null extends T ? number | null : number

/** A number of something in a text; null for a missing one. */
function counted<T extends string | null>(text: T, count: (text: string) => number): Counted<T> {
  return (text === null ? null : count(text)) as Counted<T>
}

/** Code points; a lone surrogate is one. */
function lengthOf(text: string): number {
  let length = 0
  for (let at = 0; at < text.length; at++) {
    if ((text.codePointAt(at) ?? 0) > 0xffff) at++
    length++
  }
  return length
}

const UPPER = 1
const LOWER = 2
const DIGIT = 3
const OTHER = 4

/** What is known of the code points of the first two planes, all the rest being rare; 0 before one is first met. */
const KNOWN_KINDS = new Uint8Array(0x20000)

function kindOf(code: number): number {
  const known = KNOWN_KINDS[code]
  if (known !== undefined && known !== 0) return known
  const character = String.fromCodePoint(code)
  let kind = OTHER
  if (/\p{Uppercase}/u.test(character)) kind = UPPER
  else if (/\p{Lowercase}/u.test(character)) kind = LOWER
  else if (/\p{Nd}/u.test(character)) kind = DIGIT
  if (code < KNOWN_KINDS.length) KNOWN_KINDS[code] = kind
  return kind
}

/** How many code points of a text there are of each kind. */
function tallyKinds(text: string): Uint32Array {
  const counts = new Uint32Array(OTHER + 1)
  for (let at = 0; at < text.length; at++) {
    const code = text.codePointAt(at) ?? 0
    if (code > 0xffff) at++
    const kind = kindOf(code)
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Number of Unicode code points; 0 for the empty text, null for a missing one. Time linear in the text. */
export function textLength<T extends string | null>(text: T): Counted<T> {
  return counted(text, lengthOf)
}

/**
 * Share of the code points that are decimal digits of any script (Unicode general category Nd), 0 to 1.
 *
 * Null for a missing and for an empty text. Time linear in the text.
 */
export function digitShare(text: string | null): number | null {
  if (text === null) return null
  return share(tallyKinds(text)[DIGIT] ?? 0, lengthOf(text))
}

/**
 * Share of upper-case letters among the letters that are upper or lower case (Unicode properties Uppercase and
 * Lowercase), 0 to 1: 1 for `BUY NOW 24/7!`. Letters of scripts without case, digits and the rest do not count.
 *
 * Null for a missing text and for one without such letters. Time linear in the text.
 */
export function upperCaseShare(text: string | null): number | null {
  if (text === null) return null
  const counts = tallyKinds(text)
  const upper = counts[UPPER] ?? 0
  return share(upper, upper + (counts[LOWER] ?? 0))
}

/**
 * Number of URLs in a text; 0 for the empty text, null for a missing one. Time linear in the text. A URL is
 *
 * - `http://` or `https://`, in upper or lower case, and a letter or digit;
 * - `www.` and a letter or digit;
 * - a host name (ASCII letters, digits, hyphens and dots) with one of a short list of endings such as `.com`, or with
 *   any two letters when a path follows, as in `t.me/x`; not before or after an `@`, as in an e-mail address.
 *
 * It goes on to the first character that URLs have not (RFC 3986, section 2: ASCII without spaces, quotation marks,
 * angle and curly brackets), without the punctuation that ends a sentence and without a closing bracket that closes
 * nothing inside it.
 */
export function urlCount<T extends string | null>(text: T): Counted<T> {
  return counted(text, given => tallyUrls(given).urls)
}

/**
 * Share of the code points that are part of a URL, as `urlCount` finds them, 0 to 1.
 *
 * Null for a missing and for an empty text. Time linear in the text.
 */
export function urlShare(text: string | null): number | null {
  return text === null ? null : share(tallyUrls(text).characters, lengthOf(text))
}
