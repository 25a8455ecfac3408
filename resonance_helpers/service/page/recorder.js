// From the microphone to a WAV. Plain samples and not MediaRecorder: phones differ in what that writes, its sound is
// compressed, and the page needs the samples anyway to see the level and the silence.

// As the recordings for the training were made: what makes calls clear also changes the voice that was learned.
const MICROPHONE = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const RATE = 16000; // what the model hears; smaller to send than the microphone's own rate

export const available = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

export class Recorder {
  #frames = [];
  #samples = 0;
  #closed = false;

  // Must be called while a tap is handled: iPhones start no sound otherwise. `onFrame` gets the level in dBFS and the
  // length in seconds of each frame; `onLost` is called when the system takes the microphone away.
  static async start(onFrame, onLost) {
    const recorder = new Recorder();
    let context = new AudioContext({ sampleRate: RATE });
    try {
      recorder.stream = await navigator.mediaDevices.getUserMedia({ audio: MICROPHONE });
      let source;
      try {
        source = context.createMediaStreamSource(recorder.stream);
      } catch {
        await context.close(); // Firefox connects a microphone at its own rate only; the service takes any
        context = new AudioContext();
        source = context.createMediaStreamSource(recorder.stream);
      }
      await context.resume();
      await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
      recorder.context = context;
      recorder.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
      recorder.node.port.onmessage = ({ data }) => recorder.#take(data, onFrame);
      recorder.stream.getTracks()[0].onended = onLost;
      source.connect(recorder.node);
      return recorder;
    } catch (error) {
      recorder.context = context;
      recorder.close();
      throw error;
    }
  }

  get seconds() {
    return this.#samples / this.context.sampleRate;
  }

  #take(frame, onFrame) {
    if (this.#closed) return;
    this.#frames.push(frame);
    this.#samples += frame.length;
    onFrame(level(frame), frame.length / this.context.sampleRate);
  }

  // What was heard since the start, as a WAV. Lets go of the microphone.
  finish() {
    this.close();
    return wav(this.#frames, this.#samples, this.context.sampleRate);
  }

  close() {
    this.#closed = true;
    this.stream?.getTracks().forEach((track) => {
      track.onended = null;
      track.stop();
    });
    if (this.context.state !== "closed") this.context.close();
  }
}

function level(frame) {
  let energy = 0;
  for (const sample of frame) energy += sample * sample;
  return 10 * Math.log10(energy / frame.length + 1e-12);
}

// 16 bit, one channel.
function wav(frames, samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples));
  const word = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples, true);
  let at = 44;
  for (const frame of frames) {
    for (const sample of frame) {
      view.setInt16(at, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
      at += 2;
    }
  }
  return new Blob([view], { type: "audio/wav" });
}
