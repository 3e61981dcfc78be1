import { readFileSync } from 'node:fs';
import { isObject } from '../json-value.js';

/** The version in a package.json. */
export function packageVersion(manifest: URL): string {
  const content: unknown = JSON.parse(readFileSync(manifest, 'utf8'));
  return isObject(content) ? String(content.version) : 'unknown';
}
