import { serveParent } from '@topk-attention/app-kit/node';
import { type Engine, openEngine } from './open-engine.js';
import type { EngineContract } from './protocol.js';

// The main module of the processes that `EngineChild` starts.

let engine: Engine | undefined;
await serveParent<EngineContract>({
  async open(settings, onEvent) {
    engine = await openEngine(settings, onEvent);
    return engine.info;
  },
  async answer(request, onEvent) {
    if (engine === undefined) throw new Error('no model is open');
    return engine.answer(request, onEvent);
  },
  async suggest(request, onEvent) {
    if (engine === undefined) throw new Error('no model is open');
    return engine.suggest(request, onEvent);
  },
});
