import { backendWarning } from '@topk-attention/app-kit';
import { type BackendOptions, backendSettings, type Io, note } from '@topk-attention/app-kit/node';
import type { Engine, Host } from '../host.js';
import { LastingEngine } from '../lasting-engine.js';

/** The engine that the options ask for. Says so if a slower one than expected runs. */
export async function openEngine(host: Host, options: BackendOptions, io: Io): Promise<Engine> {
  const engine = await host.openEngine(backendSettings(options));
  const warning = backendWarning(engine.info);
  if (warning !== undefined) note(io, warning);
  return engine;
}

/** The engine that the options ask for, which is opened anew after an error that ends it. Warns as `openEngine`, once. */
export async function openLastingEngine(host: Host, options: BackendOptions, io: Io): Promise<LastingEngine> {
  return new LastingEngine(await openEngine(host, options, io), () =>
    host.openEngine(backendSettings(options)),
  );
}
