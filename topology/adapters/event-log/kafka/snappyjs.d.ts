/** snappyjs comes without types. Raw snappy, without framing. */
declare module 'snappyjs' {
  export function compress(bytes: Uint8Array): Uint8Array
  /** Throws for bytes that are not snappy, and for more than `maxLength` bytes unpacked. */
  export function uncompress(bytes: Uint8Array, maxLength?: number): Uint8Array
}
