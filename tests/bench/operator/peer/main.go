// The peer of the operator's benchmark: a minimal operator on controller-runtime that makes the same Jobs in the same order as
// ours does for a chain of steps, and writes how far the run is to its status. It is as fast as that library lets it be: no
// rate limit on requests, pods watched as well as Jobs, caches restricted by label, sixteen reconciles at a time. What ours does
// besides (expressions, retries by class, digests, deadlines, progress, events, several workers) it does not.
//
// A run says what to do in annotations: bench/steps (how many after each other), bench/width (Jobs a step). The Job of a step is
// the template in the file JOB_TEMPLATE with name, labels and owner of its own.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	labelRun    = "bench/run"
	labelRunUID = "bench/run-uid"
	labelStep   = "bench/step"
)

var runKind = schema.GroupVersionKind{Group: "trainyard.dev", Version: "v1alpha1", Kind: "TrainingRun"}

type reconciler struct {
	client.Client
	template batchv1.Job
}

func number(run *unstructured.Unstructured, key string, fallback int) int {
	if n, err := strconv.Atoi(run.GetAnnotations()[key]); err == nil {
		return n
	}
	return fallback
}

func (r *reconciler) job(run *unstructured.Unstructured, step, index int) *batchv1.Job {
	job := r.template.DeepCopy()
	job.Name = fmt.Sprintf("%s-s%d-%d-a1", run.GetName(), step, index)
	job.Namespace = run.GetNamespace()
	own := map[string]string{labelRun: run.GetName(), labelRunUID: string(run.GetUID()), labelStep: strconv.Itoa(step)}
	job.Labels, job.Spec.Template.Labels = own, own
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(run, runKind)}
	return job
}

// count returns for each step how many Jobs there are and how many of their pods have succeeded.
func (r *reconciler) count(ctx context.Context, run *unstructured.Unstructured, steps int) (made, done []int, err error) {
	made, done = make([]int, steps), make([]int, steps)
	selected := client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(labels.Set{labelRunUID: string(run.GetUID())})}
	var jobs batchv1.JobList
	var pods corev1.PodList
	if err = r.List(ctx, &jobs, client.InNamespace(run.GetNamespace()), selected); err != nil {
		return
	}
	if err = r.List(ctx, &pods, client.InNamespace(run.GetNamespace()), selected); err != nil {
		return
	}
	for i := range jobs.Items {
		if s, e := strconv.Atoi(jobs.Items[i].Labels[labelStep]); e == nil && s < steps {
			made[s]++
		}
	}
	for i := range pods.Items {
		if s, e := strconv.Atoi(pods.Items[i].Labels[labelStep]); e == nil && s < steps && pods.Items[i].Status.Phase == corev1.PodSucceeded {
			done[s]++
		}
	}
	return
}

func (r *reconciler) setStatus(ctx context.Context, run *unstructured.Unstructured, phase string, finished, steps int) error {
	before, _, _ := unstructured.NestedString(run.Object, "status", "phase")
	progress := fmt.Sprintf("%d/%d", finished, steps)
	was, _, _ := unstructured.NestedString(run.Object, "status", "progress")
	if before == phase && was == progress {
		return nil
	}
	changed := run.DeepCopy()
	_ = unstructured.SetNestedField(changed.Object, phase, "status", "phase")
	_ = unstructured.SetNestedField(changed.Object, progress, "status", "progress")
	return r.Status().Update(ctx, changed)
}

func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	run := &unstructured.Unstructured{}
	run.SetGroupVersionKind(runKind)
	if err := r.Get(ctx, request.NamespacedName, run); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if phase, _, _ := unstructured.NestedString(run.Object, "status", "phase"); phase == "Succeeded" {
		return reconcile.Result{}, nil
	}
	steps, width := number(run, "bench/steps", 0), number(run, "bench/width", 1)
	if steps == 0 {
		return reconcile.Result{}, nil
	}
	made, done, err := r.count(ctx, run, steps)
	if err != nil {
		return reconcile.Result{}, err
	}
	current := 0
	for current < steps && done[current] >= width {
		current++
	}
	phase := "Running"
	if current == steps {
		phase = "Succeeded"
	}
	if err := r.setStatus(ctx, run, phase, current, steps); err != nil {
		if apierrors.IsConflict(err) {
			return reconcile.Result{Requeue: true}, nil
		}
		return reconcile.Result{}, err
	}
	if current < steps && made[current] < width {
		for i := 0; i < width; i++ {
			if err := r.Create(ctx, r.job(run, current, i)); err != nil && !apierrors.IsAlreadyExists(err) {
				return reconcile.Result{}, err
			}
		}
	}
	return reconcile.Result{}, nil
}

func runOf(_ context.Context, object client.Object) []reconcile.Request {
	name := object.GetLabels()[labelRun]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name}}}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	log.SetLogger(zap.New(zap.UseDevMode(false)))
	text, err := os.ReadFile(os.Getenv("JOB_TEMPLATE"))
	must(err)
	r := &reconciler{}
	must(json.Unmarshal(text, &r.template))
	config, err := ctrl.GetConfig()
	must(err)
	config.QPS = -1
	config.UserAgent = "peer"
	ours, err := labels.Parse(labelRun)
	must(err)
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&batchv1.Job{}: {Label: ours},
			&corev1.Pod{}:  {Label: ours},
		}, DefaultTransform: cache.TransformStripManagedFields()},
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	must(err)
	r.Client = manager.GetClient()
	run := &unstructured.Unstructured{}
	run.SetGroupVersionKind(runKind)
	must(ctrl.NewControllerManagedBy(manager).
		Named("peer").
		For(run).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(runOf)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(runOf)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 16}).
		Complete(r))
	must(manager.Start(ctrl.SetupSignalHandler()))
}
