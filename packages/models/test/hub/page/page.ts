import { type HubOptions, hub } from '../../../src/index.js';

/** The SHA-256 of a file of org/name, or the code of the error. */
async function digest(options: HubOptions, file: string): Promise<string> {
  try {
    const opened = await hub('org/name', options).open(file);
    if (opened === undefined) return 'absent';
    const bytes = new Uint8Array(await opened.read(0, opened.size));
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

Object.assign(globalThis, { digest });
