/** Ticks of one wait that follow each other at once: most reads are done by then. */
const EAGER_TICKS = 20;

/**
 * A `setImmediate` under which Dawn waits without spinning. While a promise of WebGPU is pending, the npm package
 * `webgpu` polls its device through `setImmediate`, as often as Node can: that keeps a core busy which SwiftShader needs
 * to compile the very kernel that is awaited. Here a wait is polled a few times at once, then every millisecond. Calls
 * from JavaScript pass through; a native function is told by its text, which Dawn's share with bound ones.
 */
export function calmTicks(immediately: typeof setImmediate): typeof setImmediate {
  let ticks = 0;
  let isInTick = false;
  const calm = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown => {
    if (!isNative(callback)) return immediately(callback, ...args);
    // Queued by the tick before it, a tick goes on with a wait; otherwise it begins one.
    ticks = isInTick ? ticks + 1 : 0;
    const tick = (): void => {
      isInTick = true;
      try {
        callback(...args);
      } finally {
        isInTick = false;
      }
    };
    return ticks < EAGER_TICKS ? immediately(tick) : setTimeout(tick, 1);
  };
  return Object.assign(calm, immediately) as typeof setImmediate;
}

/** Whether a function is native code, as the ticks of Dawn are. */
function isNative(callback: (...args: never[]) => void): boolean {
  return Function.prototype.toString.call(callback).includes('[native code]');
}
