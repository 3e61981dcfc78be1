import { backendWarning } from '@topk-attention/app-kit';
import { type BackendOptions, backendSettings, type Io, note } from '@topk-attention/app-kit/node';
import type { Engine, Host } from '../host.js';

/** The engine that the options ask for. Says so if a slower one than expected runs. */
export async function openEngine(host: Host, options: BackendOptions, io: Io): Promise<Engine> {
  const engine = await host.openEngine(backendSettings(options));
  const warning = backendWarning(engine.info);
  if (warning !== undefined) note(io, warning);
  return engine;
}
