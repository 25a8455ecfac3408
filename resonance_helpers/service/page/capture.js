// Runs beside the page, in the browser's sound thread: gathers the microphone's samples into frames of about 30 ms.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Float32Array(Math.round(sampleRate * 0.032));
    this.filled = 0;
  }

  process([input]) {
    for (const sample of input[0] ?? []) {
      this.frame[this.filled++] = sample;
      if (this.filled === this.frame.length) {
        this.port.postMessage(this.frame.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
