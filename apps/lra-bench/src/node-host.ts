import { packageVersion } from '@topk-attention/app-kit/node';
import type { Host } from './host.js';

/** The program as installed: every backend, loaded when one is asked for, so that help appears at once. */
export const nodeHost: Host = {
  version: packageVersion(new URL('../package.json', import.meta.url)),
  openEngine: async (settings) => {
    const { chooseBackend } = await import('@topk-attention/app-kit/backends');
    return chooseBackend(settings);
  },
};
